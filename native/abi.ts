/*
 * Compares the numbers and layouts that this library is written with to those of the kernel's own headers: every export of the constants
 * modules, every struct, and every other constant of the sources that has a C name. See README.md beside this file.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';

const SOURCES = fileURLToPath(new URL('../src', import.meta.url));

/** Names that came after the oldest headers that this is run with (6.1), and the kernel that brought them. Any other name must be found. */
export const NEWER: Readonly<Record<string, string>> = {
  NFT_MSG_GETRULE_RESET: '6.2',
  NFT_PAYLOAD_TUN_HEADER: '6.2',
  NFTA_INNER_NUM: '6.2',
  NFTA_INNER_TYPE: '6.2',
  NFTA_INNER_FLAGS: '6.2',
  NFTA_INNER_HDRSIZE: '6.2',
  NFTA_INNER_EXPR: '6.2',
  NFT_INNER_VXLAN: '6.2',
  NFT_INNER_GENEVE: '6.2',
  NFT_INNER_HDRSIZE: '6.2',
  NFT_INNER_LL: '6.2',
  NFT_INNER_NH: '6.2',
  NFT_INNER_TH: '6.2',
  NFT_MSG_DESTROYTABLE: '6.3',
  NFT_MSG_DESTROYCHAIN: '6.3',
  NFT_MSG_DESTROYRULE: '6.3',
  NFT_MSG_DESTROYSET: '6.3',
  NFT_MSG_DESTROYSETELEM: '6.3',
  NFT_MSG_DESTROYOBJ: '6.3',
  NFT_MSG_DESTROYFLOWTABLE: '6.3',
  NFT_META_BRI_BROUTE: '6.4',
  NFNL_HOOK_TYPE_BPF: '6.4',
  NFNLA_HOOK_BPF_ID: '6.4',
  NFT_MSG_GETSETELEM_RESET: '6.5',
  NFT_TABLE_F_PERSIST: '6.9',
  NFTA_BITWISE_SREG2: '6.13',
  NFT_BITWISE_AND: '6.13',
  NFT_BITWISE_OR: '6.13',
  NFT_BITWISE_XOR: '6.13',
  CTA_TIMESTAMP_EVENT: '6.14',
  NFTA_TRACE_CT_ID: '6.16',
  NFTA_TRACE_CT_DIRECTION: '6.16',
  NFTA_TRACE_CT_STATUS: '6.16',
  NFTA_TRACE_CT_STATE: '6.16',
  NFTA_SET_TYPE: '6.17',
  NFTA_SET_COUNT: '6.17',
  NFTA_DEVICE_PREFIX: '6.17',
  NFNL_HOOK_TYPE_NFT_FLOWTABLE: '6.17',
  NFT_META_BRI_IIFHWADDR: '6.18',
};

/** Constants with a C name that mean something else here, and why. */
const NOT_THE_SAME: Readonly<Record<string, string>> = {
  NLA_TYPE_MASK: 'C has ~flags in an int, this library the 16 bits of the field',
};

/** Structures to which kernels append: the beginning is read, and what follows it may be longer. */
const BEGINNINGS: readonly string[] = ['rtnl_link_stats64'];

/** Structures that are written and read by hand, in hot paths: what their code assumes. */
const LAYOUTS: readonly Layout[] = [
  layout('src/netlink/message.ts', 'nlmsghdr', 16, {
    nlmsg_len: [0, 4],
    nlmsg_type: [4, 2],
    nlmsg_flags: [6, 2],
    nlmsg_seq: [8, 4],
    nlmsg_pid: [12, 4],
  }),
  layout('src/netlink/refusal.ts', 'nlmsgerr', 20, { error: [0, 4], msg: [4, 16] }),
  layout('src/netlink/socket.ts', 'sockaddr_nl', 12, { nl_family: [0, 2], nl_pid: [4, 4], nl_groups: [8, 4] }),
  layout('src/codec/wire.ts', 'nlattr', 4, { nla_len: [0, 2], nla_type: [2, 2] }),
];

/** Each is included where it is there. */
const HEADERS = [
  'sys/socket.h',
  'poll.h',
  'sys/syscall.h',
  'sys/mount.h',
  'fcntl.h',
  'sched.h',
  'errno.h',
  'linux/if_arp.h',
  // Brings the C library's netinet/in.h, which must come before linux/in.h.
  'linux/netfilter_bridge.h',
  'linux/netlink.h',
  'linux/genetlink.h',
  'linux/rtnetlink.h',
  'linux/if.h',
  'linux/if_addr.h',
  'linux/if_bridge.h',
  'linux/if_ether.h',
  'linux/if_link.h',
  'linux/in.h',
  'linux/in6.h',
  'linux/neighbour.h',
  'linux/net_namespace.h',
  'linux/veth.h',
  'linux/nsfs.h',
  'linux/magic.h',
  'linux/sock_diag.h',
  'linux/sockios.h',
  'linux/ip_vs.h',
  'linux/netfilter.h',
  'linux/netfilter_arp.h',
  'linux/netfilter_ipv4.h',
  'linux/netfilter_ipv6.h',
  'linux/netfilter/nfnetlink.h',
  'linux/netfilter/nfnetlink_compat.h',
  'linux/netfilter/nfnetlink_acct.h',
  'linux/netfilter/nfnetlink_conntrack.h',
  'linux/netfilter/nfnetlink_cthelper.h',
  'linux/netfilter/nfnetlink_cttimeout.h',
  'linux/netfilter/nfnetlink_hook.h',
  'linux/netfilter/nfnetlink_log.h',
  'linux/netfilter/nfnetlink_osf.h',
  'linux/netfilter/nfnetlink_queue.h',
  'linux/netfilter/nf_conntrack_common.h',
  'linux/netfilter/nf_conntrack_tuple_common.h',
  'linux/netfilter/nf_log.h',
  'linux/netfilter/nf_nat.h',
  'linux/netfilter/nf_synproxy.h',
  'linux/netfilter/nf_tables.h',
  'linux/netfilter/nf_tables_compat.h',
  'linux/netfilter/xt_LOG.h',
  'linux/netfilter/xt_MARK.h',
  'linux/netfilter/xt_NFLOG.h',
  'linux/netfilter/xt_addrtype.h',
  'linux/netfilter/xt_comment.h',
  'linux/netfilter/xt_conntrack.h',
  'linux/netfilter/xt_multiport.h',
  'linux/netfilter/xt_tcpudp.h',
];

export const NEEDED = 'apt-get install gcc libc6-dev linux-libc-dev';

interface Constant {
  file: string;
  name: string;
  value: number | bigint | string;
  /** It is this library's own unless the headers know its name. */
  perhaps?: true;
}

interface Layout {
  file: string;
  struct: string;
  size: number;
  members: readonly { name: string; offset: number; size: number }[];
}

/** One line of the C program, and what it must print. */
interface Probe {
  file: string;
  /** What is compared, in C: 'sizeof(struct nlattr)'. */
  what: string;
  code: string;
  expected: string;
  /** The name that the headers must know. */
  name: string;
  perhaps: boolean;
}

export interface Comparison {
  /** Of the headers: '6.1.170'. */
  kernel: string;
  /** How many values were compared. */
  compared: number;
  differences: string[];
  /** Names that these headers lack, and the kernel that brought them according to the list above: undefined where they are not in it. */
  missing: { name: string; file: string; since: string | undefined; reason: string }[];
}

function layout(file: string, struct: string, size: number, members: Record<string, [number, number]>): Layout {
  const list = Object.entries(members).map(([name, [offset, bytes]]) => ({ name, offset, size: bytes }));
  return { file, struct, size, members: list };
}

/** Why nothing can be compared here, or undefined. */
export function obstacle(): string | undefined {
  const compiler = spawnSync('cc', ['--version']);
  if (compiler.error || compiler.status !== 0) return `no C compiler: ${NEEDED}`;
  const headers = '#include <sys/socket.h>\n#include <linux/netfilter/nf_tables.h>\n';
  const found = spawnSync('cc', ['-E', '-x', 'c', '-'], { input: headers });
  return found.status === 0 ? undefined : `no kernel headers: ${NEEDED}`;
}

function sourceFiles(): string[] {
  return fs
    .readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.ts'))
    .map(file => path.join(SOURCES, file))
    .sort();
}

const shown = (file: string): string => path.relative(path.dirname(SOURCES), file);
/** constants.ts, constants-sets.ts, constants/sets.ts */
const isConstantsModule = (file: string): boolean => /\/constants(\/[^/]+|-[^/]+)?\.ts$/.test(file);

/** Every export of the constants modules, and every Struct that any module exports. */
export async function exported(): Promise<{ constants: Constant[]; structs: Layout[] }> {
  const constants: Constant[] = [];
  const structs: Layout[] = [];
  for (const file of sourceFiles()) {
    const module = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
    for (const [name, value] of Object.entries(module)) {
      if (isConstantsModule(file)) {
        if (typeof value !== 'number' && typeof value !== 'bigint' && typeof value !== 'string')
          throw new Error(`${shown(file)}: ${name} is neither a number nor text`);
        constants.push({ file: shown(file), name, value });
      } else if (isStruct(value)) {
        const members = value.members.map(({ key, offset, size }) => ({ name: key, offset, size }));
        structs.push({ file: shown(file), struct: value.name, size: value.size, members });
      }
    }
  }
  return { constants, structs };
}

interface StructLike {
  name: string;
  size: number;
  members: readonly { key: string; offset: number; size: number }[];
}

function isStruct(value: unknown): value is StructLike {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'struct';
}

/** What modules keep to themselves: `struct('name', { member: [size, ...] })`, and `const NAME = number`. */
export function written(): { constants: Constant[]; structs: Layout[] } {
  const constants: Constant[] = [];
  const structs: Layout[] = [];
  for (const file of sourceFiles()) {
    const source = ts.createSourceFile(file, fs.readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022, true);
    const visit = (node: ts.Node): void => {
      if (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'struct')
        structs.push(structOf(node, shown(file)));
      if (ts.isVariableDeclaration(node) && ts.isIdentifier(node.name) && !isConstantsModule(file)) {
        const value = node.initializer && numberOf(node.initializer);
        if (value !== undefined && /^[A-Z][A-Z0-9_]*$/.test(node.name.text))
          constants.push({ file: shown(file), name: node.name.text, value, perhaps: true });
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  return { constants, structs };
}

function numberOf(node: ts.Expression): number | undefined {
  if (ts.isNumericLiteral(node)) return Number(node.text);
  if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.MinusToken) {
    const value = numberOf(node.operand as ts.Expression);
    return value === undefined ? undefined : -value;
  }
  return undefined;
}

function structOf(call: ts.CallExpression, file: string): Layout {
  const [name, object] = call.arguments;
  if (name === undefined || !ts.isStringLiteral(name) || object === undefined || !ts.isObjectLiteralExpression(object))
    throw new Error(`${file}: struct() with something else than a name and its members`);
  let offset = 0;
  const members = object.properties.map(property => {
    const row = ts.isPropertyAssignment(property) ? property.initializer : undefined;
    const size = row && ts.isArrayLiteralExpression(row) && row.elements[0] ? numberOf(row.elements[0]) : undefined;
    if (size === undefined) throw new Error(`${file}: struct ${name.text} has a member without a plain size`);
    const member = { name: property.name!.getText(), offset, size };
    offset += size;
    return member;
  });
  return { file, struct: name.text, size: offset, members };
}

function probesOf(constants: readonly Constant[], structs: readonly Layout[]): Probe[] {
  const probes: Probe[] = [];
  for (const { file, name, value, perhaps = false } of constants) {
    if (name in NOT_THE_SAME) continue;
    // Errnos stand here as the kernel returns them, negative.
    const what = typeof value === 'number' && value < 0 && /^E[A-Z]+$/.test(name) ? `-${name}` : name;
    const code = typeof value === 'string' ? `text(${what})` : `number((long long)(${what}))`;
    probes.push({ file, what, code, expected: String(value), name, perhaps });
  }
  for (const { file, struct, size, members } of structs) {
    const type = `struct ${struct}`;
    const add = (what: string, value: number) =>
      probes.push({ file, what, code: `number(${what})`, expected: String(value), name: type, perhaps: false });
    if (!BEGINNINGS.includes(struct)) add(`sizeof(${type})`, size);
    for (const member of members) {
      // Padding: the kernel's names for it vary, and the members around it say where it is.
      if (member.name.startsWith('_')) continue;
      add(`offsetof(${type}, ${member.name})`, member.offset);
      add(`sizeof(((${type} *)0)->${member.name})`, member.size);
    }
  }
  // Modules that export what others have, and tables that share a structure, are compared once.
  const seen = new Set<string>();
  return probes.filter(({ what, expected }) => seen.size !== seen.add(`${what} ${expected}`).size);
}

const PROLOGUE = `#define _GNU_SOURCE
/* The C library's net/if_arp.h and the kernel's linux/if_arp.h exclude each other: the kernel's is wanted. */
#define _NET_IF_ARP_H
#include <stddef.h>
#include <stdio.h>
${HEADERS.map(header => `#if __has_include(<${header}>)\n#include <${header}>\n#endif`).join('\n')}
#include <linux/version.h>
static void number(long long value) { printf("%lld\\n", value); }
static void text(const char *value) { printf("%s\\n", value); }
int main(void) {
  (void)number, (void)text;
  printf("%d.%d.%d\\n", LINUX_VERSION_CODE >> 16, LINUX_VERSION_CODE >> 8 & 255, LINUX_VERSION_CODE & 255);
`;
const PROLOGUE_LINES = PROLOGUE.split('\n').length - 1;

/**
 * Enumerators cannot be asked for with #ifdef. So all probes are compiled, each on a line of its own; the lines that the compiler refuses
 * are what these headers lack, and the rest is compiled again, until nothing is refused.
 */
export function compare(constants: readonly Constant[], structs: readonly Layout[]): Comparison {
  const missing = new Map<string, Comparison['missing'][number]>();
  let probes = probesOf(constants, structs);
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'abi-'));
  try {
    for (;;) {
      const lines = compile(directory, probes);
      if (lines === undefined) break;
      for (const [line, reason] of lines) {
        const probe = probes[line - 1 - PROLOGUE_LINES];
        if (probe === undefined) throw new Error(`the probe itself does not compile: line ${line}: ${reason}`);
        if (!probe.perhaps)
          missing.set(`${probe.file} ${probe.what}`, {
            name: probe.what.includes('->') || probe.what.startsWith('offsetof') ? probe.what : probe.name,
            file: probe.file,
            since: NEWER[probe.name],
            reason,
          });
      }
      probes = probes.filter((_, i) => !lines.has(i + 1 + PROLOGUE_LINES));
    }
    const run = spawnSync(path.join(directory, 'probe'), { encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`the probe failed: ${run.error ?? run.stderr}`);
    const [kernel = '', ...values] = run.stdout.trimEnd().split('\n');
    const differences: string[] = [];
    for (const [i, { file, what, expected }] of probes.entries()) {
      const actual = values[i];
      if (actual !== undefined && same(actual, expected)) continue;
      differences.push(`${file}: ${what} is ${actual} in the headers of Linux ${kernel}, ${expected} here`);
    }
    return { kernel, compared: probes.length, differences, missing: [...missing.values()] };
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** C's enumerators are ints: one with the highest bit set is negative there. */
function same(actual: string, expected: string): boolean {
  if (actual === expected) return true;
  return /^-\d+$/.test(actual) && BigInt.asUintN(32, BigInt(actual)).toString() === expected;
}

/** Compiles the probes; returns the lines that were refused with the reasons, or undefined where the program is there. */
function compile(directory: string, probes: readonly Probe[]): Map<number, string> | undefined {
  const source = path.join(directory, 'probe.c');
  const program = `${PROLOGUE}${probes.map(({ code }) => `  ${code};\n`).join('')}  return 0;\n}\n`;
  fs.writeFileSync(source, program);
  const { status, stderr } = spawnSync('cc', ['-w', '-o', path.join(directory, 'probe'), source], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (status === 0) return undefined;
  const refused = new Map<number, string>();
  for (const [, line, reason] of stderr.matchAll(/probe\.c:(\d+):\d+: error: (.*)/g)) {
    if (!refused.has(Number(line))) refused.set(Number(line), reason!);
  }
  if (refused.size === 0) throw new Error(`cc failed without a reason:\n${stderr}`);
  return refused;
}

/** The whole comparison. */
export async function compareAll(): Promise<Comparison> {
  const fromModules = await exported();
  const fromText = written();
  return compare(
    [...fromModules.constants, ...fromText.constants],
    [...LAYOUTS, ...fromModules.structs, ...fromText.structs],
  );
}

/** What is wrong: differences, and names that neither these headers nor the list of newer ones know. */
export function problemsOf({ kernel, differences, missing }: Comparison): string[] {
  const problems = [...differences];
  for (const { name, file, since, reason } of missing) {
    if (since === undefined) problems.push(`${file}: ${name} is not in the headers of Linux ${kernel}: ${reason}`);
    else if (!isOlder(kernel, since))
      problems.push(
        `${file}: ${name} should be in the headers of Linux ${kernel}, for it came with ${since}: ${reason}`,
      );
  }
  return problems;
}

function isOlder(version: string, than: string): boolean {
  const [a, b] = [version, than].map(text => text.split('.').map(Number));
  for (let i = 0; i < 2; i++) if ((a?.[i] ?? 0) !== (b?.[i] ?? 0)) return (a?.[i] ?? 0) < (b?.[i] ?? 0);
  return false;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const reason = obstacle();
  if (reason !== undefined) {
    console.error(reason);
    process.exit(2);
  }
  const result = await compareAll();
  for (const { name, since } of result.missing) console.log(`not in these headers: ${name} (Linux ${since ?? '?'})`);
  const problems = problemsOf(result);
  for (const problem of problems) console.error(problem);
  console.log(
    `${result.compared} values compared with the headers of Linux ${result.kernel}, ${problems.length} wrong`,
  );
  process.exitCode = problems.length > 0 ? 1 : 0;
}
