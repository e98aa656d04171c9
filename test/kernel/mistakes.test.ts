import {
  BatchError,
  Container,
  compileRule,
  decompileRule,
  Fleet,
  formatRule,
  formatRules,
  formatRuleset,
  Ipvs,
  Links,
  NetlinkError,
  NetNs,
  Nflog,
  Nftables,
  Transaction,
} from 'netsteer';
import { Conntrack } from 'netsteer/conntrack';
import {
  accept,
  counter,
  ct,
  decodeMessage,
  dnat,
  encodeMessage,
  fib,
  ip,
  ip6,
  jump,
  limit,
  log,
  redirect,
  type Statement,
  tcp,
} from 'netsteer/nftables';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { kernelSuite } from '../support/where.ts';

/*
 * What a newcomer does wrong, in every entry point. The types refuse most of it, so the calls go through `any`, as those of a JavaScript
 * program do.
 */

// biome-ignore lint/suspicious/noExplicitAny: mistakes have no type
type Wrong = any;
const wrong = (value: unknown): Wrong => value;

let netns: NetNs;
let web1: Container;
let nft: Nftables;
let links: Links;
let flows: Conntrack;
let fleet: Fleet;
let log9: Nflog;

const T = { family: 'inet', table: 't' } as const;
const commit = (object: unknown, verb = 'add') => nft.commit(wrong(new Transaction())[verb](object));
const rule = (...statements: unknown[]) =>
  commit({ rule: { ...T, chain: 'in', statements: statements as Statement[] } });
const elements = (set: string, ...values: unknown[]) => ({ element: { ...T, set, elements: values } });
const redirects = (fields: object) =>
  web1.redirects.set([wrong({ protocol: 'tcp', address: '10.0.0.1', port: 80, toPort: 8080, ...fields })]);

/** The mistake as it would be written; the call; and the words that help. */
type Mistake = readonly [written: string, call: () => unknown, words: string];

const MISTAKES: readonly Mistake[] = [
  ['NetNs.open()', () => wrong(NetNs).open(), 'one of { pid }, { pidfd }, { path }, { name }, { fd }, got undefined'],
  [
    'NetNs.open("web")',
    () => NetNs.open(wrong('web')),
    'one of { pid }, { pidfd }, { path }, { name }, { fd }, got "web"',
  ],
  ['NetNs.open({ Pid })', () => NetNs.open(wrong({ Pid: 1 })), 'got { Pid }'],
  ['NetNs.open({ pid: "1" })', () => NetNs.open(wrong({ pid: '1' })), 'pid: expected a number, got "1"'],
  ['new NetNs()', () => new (wrong(NetNs))(), 'NetNs.open({ pid }) or NetNs.create(), not new NetNs()'],
  ['run without a function', () => netns.run(wrong('ls')), 'expected a function, got "ls"'],
  ['run with an async function', () => netns.run(async () => {}), 'a synchronous function'],
  ['a sysctl without net.', () => netns.sysctl.get('ip_forward'), 'such as net.ipv4.ip_forward'],
  ['a sysctl with words', () => netns.sysctl.set('net.ipv4.ip_forward', 'yes'), 'net.ipv4.ip_forward = "yes"'],
  [
    'netns: a container',
    () => Nftables.open(wrong({ netns: web1 })),
    'such as NetNs.open({ pid }) or container.netns, got a Container',
  ],
  [
    'netns: a promise',
    () => Links.open(wrong({ netns: Container.find('web1').catch(() => {}) })),
    'got a promise (await it)',
  ],
  ['netns: undefined', () => Ipvs.open(wrong({ netns: undefined })), 'leave the key out for the home namespace'],
  ['open(netns)', () => Nftables.open(wrong(netns)), 'an object { netns, logger }, got a NetNs'],
  ['open(container)', () => Conntrack.open(wrong(web1)), 'got a Container'],
  ['open(promise)', () => Nftables.open(wrong(Promise.resolve({ netns }))), 'got a promise (await it)'],
  ['logger: a name', () => Nftables.open(wrong({ netns, logger: 'pino' })), 'the methods debug, info, warn, error'],
  ['new Nftables()', () => new (wrong(Nftables))(), 'opened by Nftables.open(), not by new'],
  ['new Links({ netns })', () => new (wrong(Links))({ netns }), 'opened by Links.open(), not by new'],
  ['new Conntrack()', () => new (wrong(Conntrack))(), 'opened by Conntrack.open(), not by new'],
  ['new Ipvs()', () => new (wrong(Ipvs))(), 'opened by Ipvs.open(), not by new'],
  ['new Nflog()', () => new (wrong(Nflog))(), 'Nflog.open({ groups })'],
  ['new Container()', () => new (wrong(Container))(), 'Container.open({ pid }), not new Container()'],
  ['new Fleet()', () => new (wrong(Fleet))(), 'Fleet.open(), not new Fleet()'],
  ['a method without its handle', () => wrong(nft.tables)(), 'a call as a method: handle.tables(...)'],
  ['a synchronous method without its handle', () => wrong(nft.sync.rules)(), 'a call as a method: handle.rules(...)'],

  ['Container.open("web1")', () => Container.open(wrong('web1')), 'Container.find(name) takes a name'],
  ['Container.open({ name })', () => Container.open(wrong({ name: 'web1' })), 'Container.find(name) takes a name'],
  ['Container.open({ netns: container })', () => Container.open(wrong({ netns: web1 })), 'expected a NetNs, such as'],
  ['allowhost', () => Container.open({ netns }, wrong({ allowhost: true })), 'did you mean allowHost?'],
  ['a runtime with a slip', () => Container.find('a', wrong({ runtime: 'dcker' })), 'did you mean docker?'],
  ['preflight({ lod })', () => web1.preflight(wrong({ lod: true })), 'did you mean load?'],
  ['nflog()', () => wrong(web1).nflog(), 'an object { groups, copy, queue, backlog }, got undefined'],
  [
    'one redirect',
    () => web1.redirects.set(wrong({ protocol: 'tcp', port: 80 })),
    'expected an array of redirects, got { protocol, port }',
  ],
  [
    'port: "80"',
    () => redirects({ port: '80' }),
    '[0].port: expected an integer 1 to 65535, or { from, to }, got "80"',
  ],
  ['port: 0', () => redirects({ port: 0 }), '[0].port: expected an integer 1 to 65535, got 0'],
  ['toPort: 65536', () => redirects({ toPort: 65536 }), '[0].toPort: expected an integer 1 to 65535, got 65536'],
  ['protocol: "TCP"', () => redirects({ protocol: 'TCP' }), 'did you mean tcp?'],
  ['toport', () => redirects({ toport: 8080 }), '[0].toport: expected no such field (did you mean toPort?'],
  ['to_port', () => redirects({ to_port: 8080 }), 'did you mean toPort?'],
  ['adress', () => redirects({ adress: '10.0.0.1' }), 'did you mean address?'],
  [
    'address: a host name',
    () => redirects({ address: 'localhost' }),
    'expected an IPv4 or IPv6 address, got "localhost"',
  ],
  ['address: undefined', () => redirects({ address: undefined }), 'leave the key out for any address'],
  ['group: "5"', () => web1.logging.set([wrong({ group: '5' })]), '[0].group: expected an integer 0 to 65535, got "5"'],
  ['hook: "INPUT"', () => web1.logging.set([wrong({ group: 5, hook: 'INPUT' })]), 'did you mean input?'],
  [
    'match: nft text',
    () => web1.logging.set([wrong({ group: 5, match: ['tcp dport 80'] })]),
    'a statement: an object, not text',
  ],

  [
    'one container for a fleet',
    () => fleet.apply(wrong(web1), {}),
    'containers: expected an array of Containers, got a Container',
  ],
  ['namespaces for a fleet', () => fleet.apply([wrong(netns)], {}), 'such as Container.open({ pid }), got a NetNs'],
  ['promises for a fleet', () => fleet.apply([wrong(Promise.resolve(web1))], {}), 'got a promise (await it)'],
  [
    'a fleet without a state',
    () => fleet.apply([web1], wrong(undefined)),
    'an object { redirects, redirectOptions, logging',
  ],
  ['a transaction as the state', () => fleet.apply([web1], wrong(new Transaction())), 'got a Transaction'],
  ['maxsockets', () => Fleet.open(wrong({ maxsockets: 5 })), 'did you mean maxSockets?'],

  ['commit({})', () => nft.commit(wrong({})), 'a Transaction: new Transaction().add({ table: { family, name } })'],
  ['commit(text)', () => nft.commit(wrong('add table ip x')), 'for what nft reads, nft.apply()'],
  ['commit(promise)', () => nft.commit(wrong(Promise.resolve(new Transaction()))), 'got a promise (await it)'],
  ['add({ tables })', () => commit({ tables: {} }), 'got { tables }'],
  ['add with two keys', () => commit({ table: {}, chain: {} }), 'an object with one key'],
  ['family: "IP"', () => commit({ table: { family: 'IP', name: 'a' } }), 'did you mean ip?'],
  [
    'a name that is too long',
    () => commit({ table: { family: 'ip', name: 'x'.repeat(300) } }),
    'table.name: expected at most 255 bytes',
  ],
  ['prio', () => commit({ chain: { ...T, name: 'x', prio: 0 } }), 'did you mean priority?'],
  [
    'policy: "DROP"',
    () => commit({ chain: { ...T, name: 'x', type: 'filter', hook: 'input', priority: 0, policy: 'DROP' } }),
    'did you mean drop?',
  ],
  [
    'a base chain without a hook',
    () => commit({ chain: { ...T, name: 'x', type: 'filter', priority: 0 } }),
    'needs type, hook and priority, all three',
  ],
  [
    'a base chain without a priority',
    () => commit({ chain: { ...T, name: 'x', type: 'filter', hook: 'input' } }),
    'needs type, hook and priority, all three',
  ],
  [
    'a chain of no table',
    () => commit({ chain: { ...T, table: 'none', name: 'x' } }),
    '(chain.table): there is no such table',
  ],
  [
    'a table that exists',
    () => commit({ table: { family: 'inet', name: 't' } }, 'create'),
    'there is a table of this name already',
  ],
  [
    'a handle as text',
    () => commit({ rule: { ...T, chain: 'in', handle: '9' } }, 'delete'),
    'rule.handle: expected a bigint, got "9"',
  ],
  ['a rule as text', () => rule('tcp dport 80 accept'), 'a statement: an object, not text'],
  ['a statement that is not called', () => rule(accept), 'a statement (call the function), got the function accept'],
  ['statements in a list', () => rule([tcp.dport.eq(80), accept()]), 'not a list: spread it with ...'],
  ['a field as a statement', () => rule(tcp.dport), 'a field becomes one by .eq(value), .in([...]) or .set(value)'],
  ['eq(CIDR)', () => rule(ip.saddr.eq('10.0.0.0/8')), ".prefix('10.0.0.0', 8)"],
  ['ne(CIDR)', () => rule(ip6.saddr.ne('fe80::/10')), ".prefix('fe80::', 10)"],
  ['in([CIDR])', () => rule(ip.saddr.in(['10.0.0.0/8'])), ".prefix('10.0.0.0', 8)"],
  ['in(CIDR)', () => rule(ip.saddr.in(wrong('10.0.0.0/8'))), ".prefix('10.0.0.0', 8)"],
  ['eq(range)', () => rule(tcp.dport.eq(wrong('80-90'))), '.between(first, last)'],
  ['eq(list as text)', () => rule(tcp.dport.eq(wrong('80,443'))), '.in([...])'],
  ['in(80, 443)', () => rule(tcp.dport.in(80, 443)), '.in([80, 443])'],
  ['eq([80, 443])', () => rule(tcp.dport.eq(wrong([80, 443]))), '.in([80, 443])'],
  ['notIn(80)', () => rule(tcp.dport.notIn(wrong(80))), 'a list, such as .notIn([80, 443])'],
  ['eq(undefined)', () => rule(tcp.dport.eq(wrong(undefined))), 'expected a value, got undefined'],
  ['eq(65536)', () => rule(tcp.dport.eq(65536)), 'a port or a service, got 65536'],
  ['a state with a slip', () => rule(ct.state.in(wrong('establishd'))), 'did you mean established?'],
  ['a type of address with a slip', () => rule(fib('daddr').type.eq(wrong('locl'))), 'did you mean local?'],
  ['tcp.port', () => rule(wrong(tcp).port.eq(80)), 'expected one of sport, dport'],
  ['a jump to no chain', () => rule(jump('none')), 'refers to, "none", is not there'],
  ['a counter that is not there', () => rule(counter('none')), 'refers to, "none", is not there'],
  ['redirect(8080)', () => rule(redirect(wrong(8080))), 'redirect: expected an object { to, flags }, got 8080'],
  [
    'a redirect of no protocol',
    () => rule(redirect({ to: 8080 })),
    'a match of the transport protocol before it, such as',
  ],
  [
    'dnat(address)',
    () => rule(dnat(wrong('10.0.0.1'))),
    'dnat: expected an object { to, port, family, flags }, got "10.0.0.1"',
  ],
  ['log(5)', () => rule(log(wrong(5))), 'log: expected an object { group, prefix'],
  ['limit without a unit', () => rule(limit(wrong({ rate: 5 }))), 'one of second, minute, hour, day, week'],
  ['a set without a key', () => commit({ set: { ...T, name: 's' } }), "set.key: expected nft's name of a type"],
  ['an element of no set', () => commit(elements('none', '10.0.0.1')), 'there is no such set in this table'],
  [
    'an element that is there',
    () => commit(elements('addresses', '10.0.0.9', '10.0.0.1'), 'create'),
    'the set has the element already: "10.0.0.1"',
  ],
  [
    'an element that is not there',
    () => commit(elements('addresses', '10.0.0.7'), 'delete'),
    'no such element (of a range, all of it must be given): "10.0.0.7"',
  ],
  [
    'an element of the JSON that is there',
    () =>
      nft.apply(
        wrong({ nftables: [{ create: { element: { ...T, name: 'addresses', elem: ['10.0.0.9', '10.0.0.1'] } } }] }),
      ),
    'elem[1]): the set has the element already: "10.0.0.1"',
  ],
  ['apply([])', () => nft.apply(wrong([])), 'nftables: expected an array of commands'],
  ['ruleset("ip")', () => nft.ruleset(wrong('ip')), 'an object { as, family, table'],
  ['elements("s")', () => nft.elements(wrong('s')), 'a set: { family, table, name }, got "s"'],
  ['dryrun', () => nft.commit(new Transaction(), wrong({ dryrun: true })), 'did you mean dryRun?'],
  [
    'an AbortController as the signal',
    () => nft.commit(new Transaction(), wrong({ signal: new AbortController() })),
    'expected an AbortSignal, got an AbortController',
  ],
  ['compileRule()', () => wrong(compileRule)(), 'an object { family, chain, statements }'],
  ['decompileRule()', () => wrong(decompileRule)(), 'an object { family, expressions }'],
  ['formatRule([])', () => formatRule(wrong([])), 'an object { family, statements, expressions }'],
  ['formatRuleset({})', () => formatRuleset(wrong({})), 'a ruleset, as nft.ruleset() returns'],
  ['encodeMessage()', () => wrong(encodeMessage)(), 'an object { type, family, object }'],
  ['decodeMessage(text)', () => decodeMessage(wrong('00')), 'the bytes of a message (Uint8Array)'],
  ['formatRules()', () => wrong(formatRules)(), 'an array of virtual servers'],

  ['group', () => Nflog.open(wrong({ netns, group: 5 })), 'did you mean groups?'],
  ['groups: 5', () => Nflog.open(wrong({ netns, groups: 5 })), 'groups: expected an array of group numbers, got 5'],
  [
    'copy: 128',
    () => Nflog.open(wrong({ netns, groups: [1], copy: 128 })),
    'copy: expected an object { bytes }, got 128',
  ],
  ['addGroup("5")', () => log9.addGroup(wrong('5')), 'group: expected an integer 0 to 65535, got "5"'],
  ['to(console.log)', () => log9.to(wrong(console.log)), 'logger.info: expected a function, as of pino'],
  ['toPcap(file)', () => log9.toPcap(wrong('a.pcap')), 'writable: expected a Writable, got "a.pcap"'],

  ['createVeth()', () => wrong(links).createVeth(), 'argument: expected an object { '],
  ['createVeth(name)', () => links.createVeth(wrong('v0')), 'got "v0"'],
  ['a peer by its name', () => links.createVeth(wrong({ name: 'v0', peer: 'v1' })), 'peer: expected an object { name'],
  [
    'a name that is too long for a link',
    () => links.createDummy({ name: 'averyveryverylongname' }),
    'a name of at most 15 bytes',
  ],
  [
    'a peer in a container',
    () => links.createVeth(wrong({ name: 'v0', peer: { name: 'v1', netns: web1 } })),
    'peer.netns: expected a NetNs, such as',
  ],
  ['set(name)', () => wrong(links).set('lo'), 'an object { '],
  ['up: "yes"', () => links.set('lo', wrong({ up: 'yes' })), 'up: expected a boolean, got "yes"'],
  ['no such link', () => links.get('none'), "there is no device named 'none' in this namespace"],
  ['name and address exchanged', () => links.addAddress('10.0.0.1/32', 'lo'), 'name: expected a name of 1 to 15 bytes'],
  ['dev', () => links.addRoute(wrong({ to: '10.0.0.0/8', dev: 'lo' })), 'did you mean device?'],
  ['addRoute("default")', () => links.addRoute(wrong('default')), 'an object { family, to'],

  ['get({})', () => flows.get(wrong({})), 'source: expected an IP address'],
  ['flush("x")', () => flows.flush(wrong('x')), 'an object { source, destination'],
  ['a status with a slip', () => flows.list(wrong({ status: ['asured'] })), 'did you mean assured?'],
  [
    'timeout',
    () =>
      flows.update(
        wrong({ protocol: 'udp', source: '10.0.0.1', destination: '10.0.0.2', sourcePort: 1, destinationPort: 2 }),
        wrong({ timeout: 5 }),
      ),
    'did you mean timeoutSeconds?',
  ],

  [
    'new NetlinkError("ENOENT")',
    () => {
      throw new (wrong(NetlinkError))('ENOENT');
    },
    'a negative errno, such as -2 (ENOENT), got "ENOENT"',
  ],
  [
    'new NetlinkError({ code })',
    () => {
      throw new (wrong(NetlinkError))({ code: 'ENOENT' });
    },
    'errno: expected a negative number',
  ],
  [
    'new NetlinkError({ errno: 2 })',
    () => {
      throw new NetlinkError({ errno: 2, syscall: 'x' });
    },
    'errno: expected a negative number, such as -2 (ENOENT), got 2',
  ],
  [
    'new BatchError()',
    () => {
      throw new (wrong(BatchError))();
    },
    'failures: expected an array of NetlinkErrors',
  ],
];

async function errorOf(call: () => unknown): Promise<Error & { code?: unknown; path?: unknown }> {
  try {
    await call();
  } catch (error) {
    return error as Error;
  }
  throw new Error('the mistake was not noticed');
}

kernelSuite('the mistakes of a newcomer', () => {
  beforeEach(async () => {
    netns = NetNs.create();
    web1 = Container.open({ netns });
    nft = Nftables.open({ netns });
    links = Links.open({ netns });
    flows = Conntrack.open({ netns });
    fleet = Fleet.open();
    log9 = Nflog.open({ netns, groups: [9] });
    await commit({ table: { family: 'inet', name: 't' } });
    await commit({ chain: { ...T, name: 'in', type: 'filter', hook: 'input', priority: 0 } });
    await commit({ set: { ...T, name: 'addresses', key: 'ipv4_addr' } });
    await commit(elements('addresses', '10.0.0.1'));
  });

  afterEach(async () => {
    for (const handle of [log9, fleet, flows, links, nft, web1]) await handle[Symbol.asyncDispose]();
    netns.close();
  });

  it.each(MISTAKES)('%s: the error says what was wanted, what was given, and what to do', async (_, call, words) => {
    const error = await errorOf(call);
    expect(error.message).toContain(words);
    expect(error.code).toMatch(/^E[A-Z]/);
    // An argument has its place; what the kernel refuses has its own.
    if (error instanceof TypeError || error instanceof RangeError)
      expect(error).toMatchObject({ path: expect.any(Array), message: expect.stringMatching(/: expected .*, got /s) });
    expect(error.message).not.toMatch(/undefined \(reading|is not (a function|iterable)|NaN|\[object/);
  });

  it('rejects every call of a closed handle with ERR_CLOSED and its name', async () => {
    links.close();
    expect(await errorOf(() => links.list())).toMatchObject({
      code: 'ERR_CLOSED',
      message: expect.stringContaining('is closed'),
    });
  });
});
