// Every request of npm's `@stoqey/ib`: prints what came of each as JSON. REQUEST_VALUES: `asked.PLAIN_VALUES` as JSON.
const { IBApi, EventName } = require("@stoqey/ib");

const [port, clientId] = process.argv.slice(2).map(Number);
const values = JSON.parse(process.env.REQUEST_VALUES);
values.contract = { symbol: "SPY", secType: "STK", exchange: "SMART", currency: "USD" };
values.order = { action: "BUY", totalQuantity: 1, orderType: "LMT", lmtPrice: 1 };
values.subscription = values.wshEventData = values.orderCancel = values.orderCancelParam = {};
const isId = (name) => ["reqId", "tickerId", "orderId", "id", "requestId"].includes(name);
const isRequest = /^(req|cancel|calculate|exercise|placeOrder|query|subscribe|unsubscribe|updateDisplay|replace|setServer)/;
const notMessages = ["all", "result", "sent", "received", "server", "connected", "disconnected", "info", "error"];

const api = new IBApi({ host: "127.0.0.1", port, clientId });
let heard = [];
let waiting = null;
for (const name of Object.values(EventName)) {
  if (notMessages.includes(name)) continue;
  api.on(name, () => {
    heard.push(name);
    if (name === EventName.currentTime && waiting) waiting();
  });
}
api.on(EventName.error, (_error, code) => heard.push(`error ${code}`));
api.on(EventName.info, (_message, code) => heard.push(`error ${code}`));

function waitUntilAnswered(times) {
  return new Promise((resolve) => {
    waiting = () => { if (--times === 0) { waiting = null; resolve(); } };
    api.reqCurrentTime();
  });
}

async function main() {
  await waitUntilAnswered(1);
  const requests = {};
  let number = 100;
  for (const name of Object.getOwnPropertyNames(IBApi.prototype).filter((one) => isRequest.test(one)).sort()) {
    number += 1;
    const text = IBApi.prototype[name].toString().match(/\(([^)]*)\)/)[1];
    const parameters = text.split(",").map((one) => one.split("=")[0].trim()).filter((one) => one);
    const missing = parameters.find((one) => !isId(one) && !(one in values));
    if (missing) throw new Error(`${name}: ${missing} has no value`);
    heard = [];
    const began = Date.now();
    let raised = "";
    try {
      api[name](...parameters.map((one) => (isId(one) ? number : values[one])));
    } catch (error) {
      raised = error.name;
    }
    await waitUntilAnswered(name === "reqCurrentTime" ? 2 : 1);
    requests[name] = { raised, heard: heard.slice(0, -1), took_s: (Date.now() - began) / 1000 };
  }
  console.log(JSON.stringify({ version: api.serverVersion, requests }));
  process.exit(0);
}

api.once(EventName.nextValidId, () => main().catch((error) => { console.error(error); process.exit(1); }));
setTimeout(() => { console.error("no answer", heard); process.exit(1); }, 60000);
api.connect(clientId);
