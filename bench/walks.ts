import { evaluate } from '../test/support/compiled.ts';

/** What one call enters. */
export interface Walk {
  name: string;
  files: string[];
  functions: number;
}

/** Ways that a change has to be followed on: each is done once before, so that what is done only once in a process is not counted. */
const CALLS = `
  import { spawn, execFileSync } from 'node:child_process';
  import { Container } from './container/index.js';
  import { Ipvs } from './ipvs/index.js';
  import { Exchange } from './netlink/index.js';
  import { NetNs } from './netns/index.js';
  import { Nflog } from './nflog/index.js';
  import { Transaction } from './nftables/index.js';
  import * as builders from './nftables/index.js';

  const { ip, tcp, log, redirect } = builders;
  const rule = port => ({ rule: { family: 'ip', table: 't', chain: 'c', statements: [
    ip.daddr.eq('10.10.0.100'), tcp.dport.eq(port), redirect({ to: 8080 }) ] } });
  const transaction = new Transaction();

  /* IPVS in memory: it acknowledges everything, and tells the number of its family. */
  const replies = [];
  const reply = (type, sequence, payload) => {
    const bytes = new Uint8Array(16 + payload.length), view = new DataView(bytes.buffer);
    view.setUint32(0, bytes.length, true); view.setUint16(4, type, true); view.setUint32(8, sequence, true);
    bytes.set(payload, 16); replies.push(bytes);
  };
  const send = (bytes, length) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, length);
    for (let at = 0; at < length; at += (view.getUint32(at, true) + 3) & ~3) {
      const sequence = view.getUint32(at + 8, true);
      if (view.getUint16(at + 4, true) === 16) reply(16, sequence, new Uint8Array([1, 2, 0, 0, 6, 0, 1, 0, 30, 0, 0, 0]));
      if (view.getUint16(at + 6, true) & 4) reply(2, sequence, new Uint8Array(20));
    }
    return length;
  };
  const receive = into => { const next = replies.shift(); if (!next) return -11; into.set(next); return next.length; };
  const transport = { netnsInode: 1, closed: false, send, receive, reserve: () => 1 << 20, close: async () => {},
    sendOffThread: async (bytes, length) => send(bytes, length), receiveOffThread: async into => receive(into) };
  const ipvs = new Ipvs(new Exchange(transport, 'ipvs'));
  const service = { protocol: 'tcp', address: '10.0.0.1', port: 80 };

  const netns = NetNs.create();
  const container = Container.open({ netns });
  netns.run(() => execFileSync('ip', ['link', 'set', 'lo', 'up']));
  const inNft = new Transaction()
    .add({ table: { family: 'ip', name: 'seen' } })
    .add({ chain: { family: 'ip', table: 'seen', name: 'out', hook: 'output', type: 'filter', priority: 0 } })
    .add({ rule: { family: 'ip', table: 'seen', chain: 'out', statements: [ip.daddr.eq('127.0.0.9'), log({ prefix: 'p', group: 5 })] } });
  await container.nftables.commit(inNft);
  const nflog = Nflog.open({ netns, groups: [5] });
  let recorded = () => {};
  const take = () => recorded();
  const ended = nflog.to({ debug: take, info: take, warn: take, error: take });
  const sender = netns.run(() =>
    spawn('bash', ['-c', 'while read; do echo > /dev/udp/127.0.0.9/9; done'], { stdio: ['pipe', 'ignore', 'ignore'] }));
  const packet = () => {
    const arrived = new Promise(resolve => { recorded = resolve; });
    sender.stdin.write('\\n');
    return arrived;
  };
  const redirectOf = port => ({ protocol: 'tcp', address: '10.10.0.100', port, toPort: 8080 });

  const calls = {
    'transaction.add of a rule of three statements': i => transaction.add(rule(80 + i)),
    'ipvs.addDestination': i => ipvs.addDestination(service, { address: '10.1.0.' + (1 + i), port: 80, forward: 'direct' }),
    'a packet of NFLOG as a record': packet,
    'container.redirects.add': i => container.redirects.add([redirectOf(80 + i)]),
  };
`;

/** Measures by V8's coverage, which counts the calls of each function. */
const MEASURE = `
  import { Session } from 'node:inspector';
  const session = new Session();
  session.connect();
  const post = (method, parameters) => { let answer; session.post(method, parameters, (error, result) => { if (error) throw error; answer = result; }); return answer; };
  post('Profiler.enable');
  post('Profiler.startPreciseCoverage', { callCount: true, detailed: false });
  const walks = [];
  for (const [name, call] of Object.entries(calls)) {
    await call(0);
    await call(1);
    post('Profiler.takePreciseCoverage');
    await call(2);
    const { result } = post('Profiler.takePreciseCoverage');
    const files = [];
    let functions = 0;
    for (const { url, functions: all } of result) {
      if (!url.startsWith(import.meta.url.replace(/[^/]*$/, '')) || url === import.meta.url) continue;
      const entered = all.filter(({ ranges, functionName }, i) => ranges[0].count > 0 && !(functionName === '' && ranges[0].startOffset === 0));
      if (entered.length === 0) continue;
      files.push(url.slice(import.meta.url.replace(/[^/]*$/, '').length).replace(/\\.js$/, '.ts'));
      functions += entered.length;
    }
    walks.push({ name, files: files.sort(), functions });
  }
  console.log(JSON.stringify(walks));
  process.exit();
`;

/** How many files and functions of a checkout's sources four calls enter. Needs root, for two of them are carried out by the kernel. */
export function measureWalks(root: string): Walk[] {
  return evaluate(CALLS + MEASURE, { root }) as Walk[];
}
