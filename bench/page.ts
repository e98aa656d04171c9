import type { Result } from './harness.ts';
import { pictureOf } from './plot.ts';
import { besideFloor, type Collection, duration, type Report, type Run, UNSTEADY } from './report.ts';

/** Explains each table: what is compared, and what its cases do. It has no figures: those are in the tables. */
const SECTIONS: Record<string, { title: string; text: string }> = {
  nftables: {
    title: 'nf_tables',
    text: `From plain objects (or the tool's own file) to the kernel's answer, each run in a new namespace.
\`rules/N\` commits N redirect rules in one transaction, \`elements/N\` N elements of a map of address and port.
\`one-rule\` replaces one rule; \`one-more-rule/N\` and \`one-more-element/N\` add one beside N. \`list/N\` reads N rules
as objects (\`nft -j\`: as JSON). \`floor\` is \`native/floor-netlink.c\`, which sends the same bytes, encoded before.`,
  },
  ipvs: {
    title: 'IPVS',
    text: `\`load\` adds services with four servers each, \`load-cold\` does it as the first thing of a process, \`list\` reads them
all, \`reconcile\` compares them with what is wanted and changes one in a hundred, \`one-change\` sets a weight. Under
User-mode Linux programs run at native speed and system calls are slow, for all programs alike.`,
  },
  nflog: {
    title: 'NFLOG',
    text: `One flood of UDP packets (\`native/flood.c\`) through the loopback device, one reader after the other. \`batched/SIZE\`
is as many packets as the generator sends, \`unbatched/SIZE\` a datagram for each packet, \`json/128\` lines of JSON,
\`latency\` from the send to the reader, \`lossless\` the highest rate of which nothing was lost. CPU time is the reader's,
**for each packet**; \`lost\` counts the packets of all runs. \`netsteer\` counts by \`onColumns\`, \`netsteer, packets\`
asks each packet of \`onBatch\` for three properties.`,
  },
  conntrack: {
    title: 'Connections',
    text: `\`list/N\` reads N flows as objects (\`conntrack -L\`: prints them). \`flush/N\` ends N flows by a filter that the kernel
does not know, so each is listed and ended by its tuple (\`conntrack -D\`). \`events/N\` makes N flows as fast as one
process can, and reads that they have begun; \`lost\` counts the events of all runs that a program did not get. \`floor\` is
\`native/floor-netlink.c\`, which sends the same bytes, and \`native/floor-events.c\`, which counts messages.`,
  },
  fleet: {
    title: 'Fleets',
    text: `\`containers/N\` gives N containers a table, a nat chain, three redirects and a log rule each; \`virtual-servers/N\` a
service with four destinations each. \`redirects/N\` sets N redirects in one container, \`one-redirect-beside/N\` adds one.
The shell loops run once. \`floor\` is \`native/floor-fleet.c\`.`,
  },
  update: {
    title: 'One change in each container of a fleet',
    text: `Each operation is one change in one container. \`longest-pause\` is how long the event loop stood still at most while
the whole fleet is programmed with \`maxPauseMs\`; \`running\` counts only what the thread itself ran.`,
  },
  reconcile: {
    title: 'Reconciling',
    text: `Services with four endpoints each: a map of verdicts, a chain that chooses for each service, a chain for each
endpoint. \`nothing-to-do\` finds that all is as wanted; \`made anew\` gets objects that it has not seen before, and
\`longest-pause\` is how long the event loop stood still at most. \`one-endpoint\` changes the address of one. \`floor\` is
\`native/floor-netlink.c\`, which asks the same questions, or empties one chain and adds one rule.`,
  },
  start: {
    title: 'Beginning',
    text: `Whole processes, with the processor time of each. \`import/ENTRY\` imports an entry point and ends, beside Node with
an empty file. \`process/1000-rules\` commits 1,000 redirect rules to a new namespace as the first thing that a process
does, beside \`nft -f\`; \`import\` is the same process without the rules. \`compile cache\` is Node's
\`module.enableCompileCache()\` (from Node 22.1 on), filled by an earlier run.`,
  },
  compile: {
    title: "nft's language",
    text: `A rule of five statements, from nft's JSON to the kernel's expressions (\`compile\`) and back (\`decompile\`), without a
kernel. \`nft -c -j -f\` starts, parses the same JSON, compiles it and has the kernel check it.`,
  },
  parse: {
    title: 'Texts',
    text: `A text of N rules, or of N elements of a map, from the file to the kernel's answer: by \`apply(text)\` in a process
that runs, by a process of its own, and by \`nft -f\`. \`parseRuleset\` only reads it, without a kernel. The same rules in
iptables' language are restored by \`Iptables.restore\` and by \`iptables-nft-restore\`.`,
  },
  memory: {
    title: 'The kernel in memory',
    text: `What \`netsteer/testing\` costs a unit test. \`fresh-kernel\` makes a kernel with one container, \`rules/N\` one with N rules,
\`packets/N-rules\` lets a packet through a chain of N rules of which none matches, and \`packets/redirected\` the first packet of a
connection, which is tracked, redirected and logged.`,
  },
  codec: { title: 'Codec', text: 'Messages written and read in memory, without a kernel.' },
  netns: {
    title: 'Namespaces',
    text: 'Entering a namespace and coming back, with and without opening a socket there, and making one.',
  },
  ffi: {
    title: 'Calls of C',
    text: `A call that does nothing, one with a buffer, and one on another thread, by each backend that is installed
([decisions/ffi.md](decisions/ffi.md)); and what leaving the thread costs and saves, by size
([decisions/off-thread.md](decisions/off-thread.md)).`,
  },
  dataplane: {
    title: 'Dataplane',
    text: `What the kernel does once it is programmed. \`packets\`: UDP packets of 64 bytes, each of a connection of its own, through
a veth pair. \`latency\`: a datagram and its answer. \`ipvs-connections\`: TCP connections through each forwarding method.
The programs are what is programmed.`,
  },
  balancer: {
    title: 'Load balancers',
    text: `1,000 services of four servers each, by one declaration: \`apply\` makes them, \`apply-again\` finds that all is as
declared. \`failed-check\` is the time from a check that fails to the kernel's answer to the weight that follows.
\`tcp-checks-a-second/1000\` and \`http-checks-a-second/1000\` check servers in another namespace 1,000 times a second: the CPU
time is that of one second, so 100 ms are a tenth of a core. Where the kernel has no IPVS, services are made on the kernel in
memory, whose own time is in the first three figures.`,
  },
};

/** Profiles, with the conditions in which each was taken: what keeps the slowest cases above the floor. */
const REST: readonly string[] = [
  '## Where the rest goes',
  `Profiles of cases that are far from their floor. Each was taken by hand, in the conditions that its paragraph names: its shares say where
the time goes, and are not to be compared with the tables.`,
  '### NFLOG',
  `**Counted**, 64 bytes, batched (\`perf record -e cpu-clock\` of a reader in a process of its own, four floods of a million packets, a load
below 1, 2026-12-01): walking the messages takes 23 %, \`recvfrom\` 11 % (of that the kernel's copy 8 %), sleeping and waking in
\`epoll_pwait\` 12 %, other threads of V8 11 % (about half of that its compiler, half its collector), and koffi's object for each readiness event 7 %.
The rest is spread over calls between libuv, N-API and JavaScript. A part is paid once a flood, not
once a packet: the same reader took 164 to 170 ns a packet in floods of 100,000, and 116 ns in floods of a million. The floor took 46 to 51 ns.`,
  `**To pcap**, 64 bytes, batched (\`perf\` of the reader alone, five million packets, a stream, a load of 14, 2026-11-30): V8's own code (streams,
callbacks, compiler, collector) takes 34 %, \`write\` on a thread of libuv 20 %, waking and switching threads 13 %, walking the messages 9 %, \`recvfrom\` 6 %, copying
packets 3 %. The reader in a process of its own took 353 to 394 ns a packet where tcpdump took 601 (floods of 100,000, a load below 1, 2026-12-01).`,
  `**JSON** (three sinks compared, a load of 22, 2026-11-30): reading and the record take 1.2 to 1.7 us a packet, pino's line 1.9 us, and
writing 2.3 us with \`sync: true\`, 4.0 us without.`,
  '### IPVS',
  `Nobody has found yet why the floor of \`load/200x4\` differs so much from run to run: where it is marked, its ratio says nothing. It is a
process that has just been started, and the others run in one that stays. By counts in User-mode Linux, which no load changes (2026-11-30), a
restore of 200x4 has 12 page faults and no context switch; a restore of 2,000x4 has 86 page faults.`,
  '### Beginning',
  `\`process/1000-rules\` cannot reach \`nft -f\`: bare Node alone takes longer than the whole of it, as the table shows.`,
];

const MARKS = ['<!-- numbers: npm run bench -- all -->', '<!-- end of numbers -->'] as const;

const WIDTH = 100;

/** The same text in lines of at most `WIDTH` columns. Code between backticks is not divided. */
function paragraph(text: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.replaceAll('\n', ' ').match(/(?:`[^`]*`|[^\s`])+/g) ?? []) {
    if (line !== '' && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else line += line === '' ? word : ` ${word}`;
  }
  return [...lines, line].join('\n');
}

/** docs/benchmarks.md, whole, of one results file for each kind of machine. */
export function pageOf(collections: readonly Collection[]): string {
  const names = [...new Set(collections.flatMap(({ runs }) => runs.map(({ name }) => name)))];
  return `${[
    '# Benchmarks',
    paragraph(`\`npm run bench -- all\` writes this page from \`bench/results/all.json\`; no figure on it is written by
hand. \`npm run bench -- NAME [--quick] [--guest host|uml|qemu] [--json FILE] [--plot DIRECTORY]\` runs one benchmark.
The programs of a case run in turns, after rounds that do not count. Earlier figures, and what was learnt from them, are
in [history/benchmarks.md](history/benchmarks.md).`),
    paragraph(machines(collections)),
    ...collections.map((collection, i) => settings(collection, i)),
    paragraph(`Columns: the median of the runs, the fastest and the slowest run, the time for each operation, the processor
time of the whole process, percentiles of single operations, and the median divided by that of the floor. \`${UNSTEADY}\` behind a ratio: the runs of
its floor differ by more than a fifth. A column that a table does not need is left out.`),
    ...names.flatMap(name =>
      section(
        name,
        collections.flatMap(({ runs }, i) => runs.filter(run => run.name === name).map(run => part(run, letterOf(i)))),
      ),
    ),
    ...REST.map(text => (text.startsWith('#') ? text : paragraph(text))),
  ].join('\n\n')}\n`;
}

/** How many kinds of machines there are, and why guests are none. */
function machines({ length }: readonly Collection[]): string {
  const others =
    length === 1
      ? `All figures were measured on one kind of machine, so nobody knows yet which of them hold on another: a ratio to the floor, or to
another process, depends on how fast the kernel is.`
      : `The figures were measured on ${length} kinds of machines.`;
  return `${others} A guest is no second kind. QEMU without KVM runs JavaScript fifteen times slower and the kernel less so, and User-mode Linux has
slow system calls: compare programs in a guest with each other only. \`npm run bench -- all --json bench/results/NAME.json\` on another
machine, then \`npm run bench -- pages\`, adds its figures.`;
}

/** What the tables call a machine. */
const letterOf = (index: number): string => String.fromCharCode(65 + index);

/**
 * How fast its kernel is: machines differ by a factor of two in what a system call takes, and with it each ratio to the floor and to other
 * processes.
 */
function kernelSpeed({ runs }: Collection): string {
  const results = runs.find(({ name }) => name === 'ffi')?.report?.results ?? [];
  const floor = results.find(each => each.case === 'request' && each.program === 'floor');
  return floor?.operationsPerSecond === undefined ? 'not measured' : duration(1 / floor.operationsPerSecond);
}

function settings(collection: Collection, index: number): string {
  const { date, commit, quick, machine, minutes } = collection;
  const [before, after] = machine.load;
  return [
    `| machine ${letterOf(index)} | |`,
    '|---|---|',
    `| date | ${date}, ${minutes} minutes${quick ? ', `--quick`: few rounds of small cases' : ''} |`,
    `| commit | ${commit} |`,
    `| machine | ${machine.cpu}, ${machine.processors} processors, ${machine.memoryGiB} GiB |`,
    `| kernel, Node | Linux ${machine.kernel}, ${machine.node} |`,
    `| a request to the kernel and its answer, without this library | ${kernelSpeed(collection)} |`,
    `| load | ${before} before, ${after} after |`,
  ].join('\n');
}

function section(name: string, parts: readonly string[]): string[] {
  const { title, text } = SECTIONS[name] ?? { title: name, text: '' };
  return [`## ${title}`, paragraph(text), ...parts].filter(each => each !== '');
}

function part({ name, guest, report, missing }: Run, machine: string): string {
  const command = `\`npm run bench -- ${name}${guest === 'host' ? '' : ` --guest ${guest}`}\``;
  if (report === undefined) return paragraph(`${command} could not run here: ${missing} (machine ${machine})`);
  const { kernel, versions } = report.environment;
  const peers = Object.entries(versions).map(([program, version]) => `${program} ${version}`);
  const picture = pictureOf(report);
  const where = `Linux ${kernel}${guest === 'host' ? '' : ` (${guest})`} on machine ${machine}`;
  const lines = [`${command}: ${[where, ...peers].join(', ')}`, table(report)];
  if (picture !== undefined) lines.push(`![${picture.title}](${name}.svg)`);
  return lines.join('\n\n');
}

const COLUMNS: readonly (readonly [title: string, cell: (result: Result, report: Report) => string])[] = [
  ['median', ({ seconds }) => duration(seconds.median)],
  [
    'fastest to slowest',
    ({ runs, seconds }) => (runs < 2 ? '' : `${duration(seconds.min)} to ${duration(seconds.max)}`),
  ],
  ['each', ({ operationsPerSecond: rate }) => (rate === undefined ? '' : duration(1 / rate))],
  ['CPU', ({ cpuMicroseconds: cpu }) => (cpu === undefined ? '' : duration(cpu / 1e6))],
  ['p50', ({ latencyMicroseconds: latency }) => (latency === undefined ? '' : duration(latency.p50 / 1e6))],
  ['p99', ({ latencyMicroseconds: latency }) => (latency === undefined ? '' : duration(latency.p99 / 1e6))],
  ['allocated', ({ allocatedBytes: bytes }) => (bytes === undefined ? '' : `${Math.round(bytes)} B`)],
  ['lost', ({ lost }) => (lost === undefined ? '' : lost.toLocaleString('en'))],
  ['runs', ({ runs }) => String(runs)],
  ['/ floor', (result, { results }) => besideFloor(result, results)],
];

function table(report: Report): string {
  const columns = COLUMNS.filter(([, cell]) => report.results.some(result => cell(result, report) !== ''));
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  let last = '';
  const lines = report.results.map(result => {
    const first = result.case === last ? '' : `\`${result.case}\``;
    last = result.case;
    return row([first, result.program, ...columns.map(([, cell]) => cell(result, report))]);
  });
  const titles = ['case', 'program', ...columns.map(([title]) => title)];
  return [row(titles), `|${titles.map((_, i) => (i < 2 ? '---' : '--:')).join('|')}|`, ...lines].join('\n');
}

/** A line of the README's table: the largest case of that name, and the programs in its three columns. */
interface Line {
  readonly text: string;
  readonly run: readonly [name: string, guest: string];
  readonly case: string;
  /** The rival's name. */
  readonly beside?: string;
  /** What is shown of a program; its median by default. */
  readonly shown?: (result: Result) => number | undefined;
}

const p50 = (result: Result) => result.latencyMicroseconds && result.latencyMicroseconds.p50 / 1e6;
const LINES: readonly Line[] = [
  { text: '# redirect rules in one transaction', run: ['nftables', 'host'], case: 'rules', beside: 'nft' },
  { text: '# elements of a map', run: ['nftables', 'host'], case: 'elements', beside: 'nft' },
  { text: 'one element more beside #, p50', run: ['nftables', 'host'], case: 'one-more-element', shown: p50 },
  { text: 'listing # rules, as objects (nft: as JSON)', run: ['nftables', 'host'], case: 'list', beside: 'nft -j' },
  {
    text: 'a table, a chain, three redirects and a log rule in each of # containers',
    run: ['fleet', 'host'],
    case: 'containers',
    beside: 'nsenter nft -f',
  },
  {
    text: '# virtual services of 4 destinations each, in one `apply` (in User-mode Linux)',
    run: ['ipvs', 'uml'],
    case: 'load',
    beside: 'ipvsadm',
  },
];

/** The README's table: lines that ran on every kind of machine, with the same program ahead on each. */
export function readmeNumbers(collections: readonly Collection[]): string {
  const lines = LINES.flatMap(line => readmeLine(collections, line) ?? []);
  const how = collections.map(
    ({ date, quick, machine }) =>
      `\`npm run bench -- all${quick ? ' --quick' : ''}\` has written this table on ${date.slice(0, 10)}: ${machine.processors} processors, Linux ${machine.kernel}, load ${machine.load[0]}.`,
  );
  return `${paragraph(how.join(' '))}\n\n| median | netsteer | nft, ipvsadm | floor |\n|---|--:|--:|--:|\n${lines.join('\n')}`;
}

function readmeLine(collections: readonly Collection[], line: Line): string | undefined {
  const found = collections.map(collection => cellsOf(collection, line));
  const ahead = new Set(found.map(each => each && (each.own ?? 0) <= (each.beside ?? Number.POSITIVE_INFINITY)));
  if (ahead.size !== 1 || ahead.has(undefined)) return undefined;
  const cells = (['own', 'beside', 'floor'] as const).map(column =>
    found
      .flatMap(each => each?.[column] ?? [])
      .map(duration)
      .join('; '),
  );
  return `| ${line.text.replace('#', found[0]!.size.toLocaleString('en'))} | ${cells.join(' | ')} |`;
}

/** The seconds of a line's programs on one machine, in its largest case. */
function cellsOf({ runs }: Collection, { run: [name, guest], case: base, beside, shown }: Line) {
  const results = runs.find(run => run.name === name && run.guest === guest)?.report?.results ?? [];
  // 'rules/10000', 'load/200x4'
  const sizeOf = (result: Result) => Number.parseInt(result.case.split('/')[1] ?? '', 10);
  const ofCase = results.filter(result => result.case.startsWith(`${base}/`));
  const sizes = ofCase.map(sizeOf);
  if (sizes.length === 0) return undefined;
  const size = Math.max(...sizes);
  const seconds = (program: string | undefined) => {
    const result = ofCase.find(each => sizeOf(each) === size && each.program === program);
    return result && (shown === undefined ? result.seconds.median : shown(result));
  };
  return { size, own: seconds('netsteer'), beside: seconds(beside), floor: seconds('floor') };
}

/** The README with these numbers between its marks. */
export function withNumbers(readme: string, numbers: string): string {
  const [begin, end] = MARKS;
  const [from, to] = [readme.indexOf(begin), readme.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`README.md has no ${begin} ... ${end}`);
  return `${readme.slice(0, from)}${begin}\n${numbers}\n${readme.slice(to)}`;
}
