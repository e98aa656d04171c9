/*
 * Prints the packets that the rules of this host's containers drop: one line a packet, with the container's name.
 *
 *     node docs/examples/tail-drops.ts --help        (Node 22.18 or newer; with an older one: npx tsx docs/examples/tail-drops.ts)
 *
 * Rules that log to NFLOG (nft `log group 5`) report their packets, and this program listens to every group that a container's rules log
 * to. Rules that drop without a log report nothing. `--insert` puts a log rule before each of them while this program runs.
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { parseArgs } from 'node:util';
import {
  type Chain,
  type Expression,
  isPermission,
  NetNs,
  Nflog,
  Nftables,
  type Packet,
  type Rule,
  type RuleEntry,
  Transaction,
} from 'netsteer';

const USAGE = `tail-drops [options] [NAME...]

Shows the packets that the rules of containers log and drop, of all network namespaces of this host but its own.

  NAME         only these: a name under /run/netns, the beginning of a container's id, a process's id
  --all        packets that are logged and not dropped, too
  --group N    listen to group N too, whatever the nf_tables rules say (iptables-legacy -j NFLOG --nflog-group N); repeatable
  --insert     put a log rule before each rule that drops without logging, and at the end of each chain whose policy is to
               drop. They log to group 4242 and decide nothing. Removed at the end.
  --json       one JSON object a packet
  --help

Needs root. Ctrl-C ends it, and prints how many packets of which container were shown.
`;

const { values: options, positionals: only } = parseArgs({
  allowPositionals: true,
  options: {
    all: { type: 'boolean', default: false },
    group: { type: 'string', multiple: true, default: [] },
    insert: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

const OWN_GROUP = 4242;
const OWN_COMMENT = 'netsteer tail-drops';
const RESCAN_MILLISECONDS = 2000;
const extraGroups = options.group.map(Number);

/** A rule that logs to a group. Group and prefix of a packet identify it. */
interface Source {
  group: number;
  prefix: string;
  drops: boolean;
}

type Kinds<E> = E extends unknown ? keyof E : never;
type Kind = Kinds<Expression>;

/** The first expression of this kind, or undefined. */
function expressionOf<K extends Kind>(
  rule: RuleEntry,
  kind: K,
): Extract<Expression, Record<K, unknown>>[K] | undefined {
  const found = rule.expressions.find(each => kind in each) as Record<K, never> | undefined;
  return found?.[kind];
}

function isDrop(rule: RuleEntry): boolean {
  const data = expressionOf(rule, 'immediate')?.data;
  return (typeof data === 'object' && data.verdict === 'drop') || expressionOf(rule, 'reject') !== undefined;
}

/** The conditions of a rule as text, without its actions. */
const DOES = ['counter', 'log', 'limit', 'immediate', 'reject'];
const matchOf = (rule: RuleEntry) =>
  JSON.stringify(
    rule.expressions.filter(each => !DOES.some(kind => kind in each)),
    (_, value) => (typeof value === 'bigint' ? String(value) : value),
  );

/**
 * The rules that log. A packet that such a rule logs is dropped if the rule itself drops, if the next rule of the chain has the same
 * conditions and drops, or if it is the last rule of a chain whose policy is drop.
 */
function sourcesOf(rules: RuleEntry[], chains: Chain[]): Source[] {
  return rules.flatMap((rule, i) => {
    const { group, prefix = '' } = expressionOf(rule, 'log') ?? {};
    if (group === undefined) return [];
    const next = rules[i + 1];
    const hasNext = next !== undefined && isSameChain(next, rule);
    const chain = chains.find(
      each => each.family === rule.family && each.table === rule.table && each.name === rule.chain,
    );
    const drops =
      rule.comment === OWN_COMMENT ||
      isDrop(rule) ||
      (hasNext ? isDrop(next) && matchOf(next) === matchOf(rule) : chain?.policy === 'drop');
    return [{ group, prefix, drops }];
  });
}

const isSameChain = (a: RuleEntry, b: RuleEntry) => a.family === b.family && a.table === b.table && a.chain === b.chain;

/** One network namespace other than the host's. */
class Watched {
  readonly name: string;
  readonly netns: NetNs;
  readonly log: Nflog<Source>;
  readonly #nft: Nftables;
  readonly #refused = new Set<number>();
  #sources = new Map<string, Source>();
  /** Rules and chains that have a log rule of ours, or cannot have one. */
  readonly #tried = new Set<string>();
  shown = 0;

  constructor(name: string, netns: NetNs) {
    this.name = name;
    this.netns = netns;
    this.#nft = Nftables.open({ netns });
    this.log = Nflog.open<Source>({
      netns,
      name,
      groups: [],
      // Enough for every header.
      copy: { bytes: 256 },
      rules: (prefix, group) => this.#sources.get(`${group} ${prefix}`),
    });
    this.log.onLoss(({ kind, count }) => say(`${name}: ${count} ${kind} were lost`));
    this.log.onBatch(packets => {
      for (const packet of packets) this.#show(packet);
    });
  }

  /** Reads the rules again, because a container may change them. */
  scan(): void {
    if (options.insert) this.#insert();
    const rules = this.#nft.sync.rules();
    this.#sources.clear();
    for (const source of sourcesOf(rules, this.#nft.sync.chains())) {
      const key = `${source.group} ${source.prefix}`;
      if (!this.#sources.get(key)?.drops) this.#sources.set(key, source);
    }
    const wanted = new Set([...extraGroups, ...[...this.#sources.values()].map(({ group }) => group)]);
    for (const group of wanted) if (!this.log.groups.includes(group)) this.#listen(group);
    for (const group of this.log.groups) if (!wanted.has(group)) this.log.sync.removeGroup(group);
  }

  #listen(group: number): void {
    if (this.#refused.has(group)) return;
    try {
      this.log.sync.addGroup(group);
      say(`${this.name}: listening to group ${group}`);
    } catch (error) {
      // Another program listens to this group; the hint names it.
      this.#refused.add(group);
      say(`${this.name}: ${(error as Error).message}`);
    }
  }

  #show(packet: Packet<Source>): void {
    const drops = packet.rule?.drops === true || extraGroups.includes(packet.group);
    if (!drops && !options.all) return;
    this.shown++;
    const { timestampMicroseconds, receivedAtMicroseconds } = packet;
    const time = new Date((timestampMicroseconds ?? receivedAtMicroseconds) / 1000);
    if (options.json)
      console.log(JSON.stringify({ time, container: this.name, drops, ...packet.headers, line: packet.summary() }));
    else console.log(`${time.toISOString().slice(11, 23)} ${this.name} ${drops ? 'DROP' : 'log '} ${packet.summary()}`);
  }

  /** Puts a log rule before each rule that drops without a log, and at the end of chains whose policy is drop. */
  #insert(): void {
    const rules = this.#nft.sync.rules();
    for (const rule of rules) {
      const key = `${rule.family} ${rule.table} ${rule.chain} ${rule.handle}`;
      if (!isDrop(rule) || expressionOf(rule, 'log') !== undefined || this.#tried.has(key)) continue;
      this.#tried.add(key);
      const expressions = rule.expressions.filter(each => !DOES.some(kind => kind in each));
      this.#add(
        'insert',
        { family: rule.family, table: rule.table, chain: rule.chain, position: rule.handle },
        expressions,
      );
    }
    for (const { family, table, name, policy } of this.#nft.sync.chains()) {
      const key = `${family} ${table} ${name} policy`;
      if (policy !== 'drop' || this.#tried.has(key)) continue;
      this.#tried.add(key);
      const last = rules.filter(each => each.family === family && each.table === table && each.chain === name).at(-1);
      if (last === undefined || expressionOf(last, 'log') === undefined)
        this.#add('add', { family, table, chain: name }, []);
    }
  }

  #add(
    how: 'add' | 'insert',
    place: Pick<RuleEntry, 'family' | 'table' | 'chain'> & { position?: bigint },
    match: RuleEntry['expressions'],
  ): void {
    const log = { log: { group: OWN_GROUP, prefix: `${place.table}/${place.chain} `.slice(-127) } };
    const rule = { ...place, expressions: [...match, log], comment: OWN_COMMENT } as Rule;
    try {
      this.#nft.sync.commit(new Transaction()[how]({ rule }));
    } catch (error) {
      // An anonymous set belongs to one rule.
      say(`${this.name}: no log rule in ${place.table}/${place.chain}: ${(error as Error).message}`);
    }
  }

  close(): void {
    try {
      if (options.insert) removeOwn(this.#nft);
    } catch (error) {
      say(`${this.name}: rules of this program are left: ${(error as Error).message}`);
    }
    this.log.close();
    this.#nft.close();
    this.netns.close();
  }
}

/** Removes our log rules, also those of an earlier run that was killed. */
function removeOwn(nft: Nftables): void {
  const transaction = new Transaction();
  for (const { family, table, chain, handle, comment } of nft.sync.rules())
    if (comment === OWN_COMMENT) transaction.delete({ rule: { family, table, chain, handle } });
  nft.sync.commit(transaction);
}

interface Candidate {
  name: string;
  id: string;
  /** The inode of its network namespace. */
  inode: number;
  open: () => NetNs;
}

/** The containers of this host: the names under /run/netns, and the processes. */
function* candidates(): Generator<Candidate> {
  for (const name of NetNs.list())
    yield {
      name: visible(name),
      id: name,
      inode: statSync(`/run/netns/${name}`).ino,
      open: () => NetNs.open({ name }),
    };
  const pids = readdirSync('/proc').filter(each => /^\d+$/.test(each));
  for (const pid of pids.sort((a, b) => Number(a) - Number(b))) {
    try {
      const inode = Number(/\d+/.exec(readlinkSync(`/proc/${pid}/ns/net`))?.[0]);
      yield { name: containerOf(pid), id: pid, inode, open: () => NetNs.open({ pid: Number(pid) }) };
    } catch {
      // The process has ended meanwhile.
    }
  }
}

/** The container's name or id, by its control group, or else the name of the process. A container may have chosen any of these. */
function containerOf(pid: string): string {
  const group = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  const [, named] = /(?:lxc\.payload\.|machine-)([\w.-]+?)(?:\.scope)?(?:\/|\n|$)/.exec(group) ?? [];
  const [id] = /[0-9a-f]{64}/.exec(group) ?? [];
  const process = `${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()}[${pid}]`;
  return visible(named ?? id?.slice(0, 12) ?? process);
}

/** Replaces all characters that a terminal could obey or not show. */
function visible(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}

const isWanted = ({ name, id }: Candidate) =>
  only.length === 0 || only.some(each => name === each || id === each || (each.length > 3 && name.startsWith(each)));

const watched = new Map<number, Watched>();
const strangers = new Set<number>([NetNs.home().inode]);

function scan(): void {
  const alive = new Set<number>();
  for (const candidate of candidates()) {
    const { name, inode, open } = candidate;
    if (!isWanted(candidate)) continue;
    alive.add(inode);
    if (watched.has(inode) || strangers.has(inode)) continue;
    try {
      watched.set(inode, new Watched(name, open()));
    } catch (error) {
      // The process may have ended. A namespace that we may not enter is reported once.
      if (!isPermission(error)) continue;
      strangers.add(inode);
      say(`${name}: ${(error as Error).message}`);
    }
  }
  for (const [inode, each] of watched) {
    try {
      // Our own sockets keep the namespace alive, so it has to be closed.
      if (!alive.has(inode)) throw new Error('gone');
      each.scan();
    } catch (error) {
      watched.delete(inode);
      strangers.delete(inode);
      each.close();
      say(`${each.name}: ${(error as Error).message}`);
    }
  }
}

/** Prints a message to the standard error: the standard output has only packets. */
function say(text: string): void {
  console.error(visible(text));
}

function end(): void {
  clearInterval(timer);
  for (const each of watched.values()) {
    if (each.shown > 0) say(`${each.name}: ${each.shown} packets`);
    each.close();
  }
}

let timer: NodeJS.Timeout | undefined;
if (options.help) process.stdout.write(USAGE);
else {
  process.once('SIGINT', end).once('SIGTERM', end);
  scan();
  timer = setInterval(scan, RESCAN_MILLISECONDS);
}
