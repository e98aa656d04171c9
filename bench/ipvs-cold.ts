import { formatRules, Ipvs } from 'netsteer';
import { timed } from './harness.ts';
import { operationsFor, virtualServers } from './ipvs-servers.ts';

/* Run by bench/ipvs.ts in a namespace: fills its table, as the first thing that this process does, and prints how long that took. */

const [how, count] = process.argv.slice(2);
const servers = virtualServers(Number(count));
const operations = operationsFor(servers);
const text = formatRules(servers);
const handle = Ipvs.open({ via: 'netlink' });
const sample = await timed(() => (how === 'restore' ? handle.restore(text) : handle.apply(operations)));
console.log(JSON.stringify(sample));
handle.close();
