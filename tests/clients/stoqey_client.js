// One connection of npm's `@stoqey/ib`: prints what it heard as JSON.
const { IBApi, EventName } = require("@stoqey/ib");

const [port, clientId] = process.argv.slice(2).map(Number);
const heard = { errors: [] };
const api = new IBApi({ host: "127.0.0.1", port, clientId });
api.on(EventName.managedAccounts, (accounts) => { heard.accounts = accounts; });
api.on(EventName.nextValidId, (id) => { heard.next_valid_id = id; api.reqCurrentTime(); });
api.on(EventName.error, (error, code, id) => { heard.errors.push([id, code, error.message]); });
api.on(EventName.currentTime, (time) => {
  heard.time = time;
  heard.server_version = api.serverVersion;
  api.disconnect();
  console.log(JSON.stringify(heard));
  process.exit(0);
});
setTimeout(() => { console.log(JSON.stringify(heard)); process.exit(1); }, 20000);
api.connect(clientId);
