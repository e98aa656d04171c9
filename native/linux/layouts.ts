/*
 * Compares what the sources say of C's structures with the headers, and finds constants of C that a file of the sources has written down
 * itself in the place of importing them from src/linux.
 */
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';
import { ask } from './probe.ts';

const SOURCES = path.resolve('src');

/** The functions of the sources that declare a structure: its name, and its members with their sizes. */
const DECLARES: readonly string[] = ['struct', 'structure'];

/** Structures to which kernels append: the beginning is read, and what follows it may be longer. */
const BEGINNINGS: readonly string[] = ['rtnl_link_stats64'];

/** Constants with a C name that mean something else here, and why. */
const NOT_THE_SAME: Readonly<Record<string, string>> = {
  NLA_TYPE_MASK: 'C has ~flags in an int, this library the 16 bits of the field',
};

export interface Layout {
  file: string;
  struct: string;
  size: number;
  members: readonly { name: string; offset: number; size: number }[];
}

/** A constant of the sources outside src/linux: `const NAME = number`. */
export interface Constant {
  file: string;
  name: string;
  value: number;
}

/** Structures that are written and read by hand, in hot paths: what their code assumes. */
const BY_HAND: readonly Layout[] = [
  layout('src/netlink/message.ts', 'nlmsghdr', 16, {
    nlmsg_len: [0, 4],
    nlmsg_type: [4, 2],
    nlmsg_flags: [6, 2],
    nlmsg_seq: [8, 4],
    nlmsg_pid: [12, 4],
  }),
  layout('src/netlink/ack.ts', 'nlmsgerr', 20, { error: [0, 4], msg: [4, 16] }),
  layout('src/netlink/socket.ts', 'sockaddr_nl', 12, { nl_family: [0, 2], nl_pid: [4, 4], nl_groups: [8, 4] }),
  layout('src/codec/wire.ts', 'nlattr', 4, { nla_len: [0, 2], nla_type: [2, 2] }),
];

function layout(file: string, struct: string, size: number, members: Record<string, [number, number]>): Layout {
  const list = Object.entries(members).map(([name, [offset, bytes]]) => ({ name, offset, size: bytes }));
  return { file, struct, size, members: list };
}

/** Every structure of the sources: those that a module exports, those that it keeps to itself, and those that are read by hand. */
export async function layouts(): Promise<Layout[]> {
  const found = [...BY_HAND];
  for (const file of sourceFiles()) {
    const module = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
    for (const value of Object.values(module)) {
      if (!isStruct(value)) continue;
      const members = value.members.map(({ key, offset, size }) => ({ name: key, offset, size }));
      found.push({ file: shown(file), struct: value.name, size: value.size, members });
    }
    eachNode(file, node => {
      if (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && DECLARES.includes(node.expression.text))
        found.push(structOf(node, shown(file)));
    });
  }
  return found;
}

/** Every `const NAME = number` of the sources outside src/linux whose name could be one of C. */
export function constants(): Constant[] {
  const found: Constant[] = [];
  for (const file of sourceFiles()) {
    if (path.dirname(file) === path.join(SOURCES, 'linux')) continue;
    eachNode(file, node => {
      if (!ts.isVariableDeclaration(node) || !ts.isIdentifier(node.name) || node.initializer === undefined) return;
      const value = numberOf(node.initializer);
      if (value !== undefined && /^[A-Z][A-Z0-9_]*$/.test(node.name.text))
        found.push({ file: shown(file), name: node.name.text, value });
    });
  }
  return found;
}

export interface Comparison {
  compared: number;
  problems: string[];
}

export function compareLayouts(list: readonly Layout[]): Comparison {
  const probes = new Map<string, { file: string; expression: string; expected: number }>();
  for (const { file, struct, size, members } of list) {
    const add = (expression: string, expected: number) =>
      probes.set(`${expression} ${expected}`, { file, expression, expected });
    if (!BEGINNINGS.includes(struct)) add(`sizeof(struct ${struct})`, size);
    for (const member of members) {
      // Padding: the kernel's names for it vary, and the members around it say where it is.
      if (member.name.startsWith('_')) continue;
      add(`offsetof(struct ${struct}, ${member.name})`, member.offset);
      add(`sizeof(((struct ${struct} *)0)->${member.name})`, member.size);
    }
  }
  const { values, kernel } = ask([...probes.values()].map(({ expression }) => expression));
  const problems: string[] = [];
  for (const [i, { file, expression, expected }] of [...probes.values()].entries()) {
    const found = values[i]!;
    if ('missing' in found)
      problems.push(`${file}: ${expression} is not in the headers of Linux ${kernel}: ${found.missing}`);
    else if (Number(found.value) !== expected)
      problems.push(`${file}: ${expression} is ${found.value} in the headers of Linux ${kernel}, ${expected} here`);
  }
  return { compared: probes.size, problems };
}

/** Errnos stand in the sources as the kernel returns them, negative: they are compared. Any other constant of C must come from src/linux. */
export function compareConstants(list: readonly Constant[]): Comparison {
  const mine = list.filter(({ name }) => !(name in NOT_THE_SAME));
  const { values } = ask(mine.map(({ name }) => name));
  const problems: string[] = [];
  let compared = 0;
  for (const [i, { file, name, value }] of mine.entries()) {
    const found = values[i]!;
    if ('missing' in found) continue;
    compared++;
    if (!/^E[A-Z0-9]+$/.test(name))
      problems.push(`${file}: ${name} is a constant of C: add it to native/linux/names.ts and import it`);
    else if (value !== -Number(found.value)) problems.push(`${file}: ${name} is ${found.value} in C, ${value} here`);
  }
  return { compared, problems };
}

function sourceFiles(): string[] {
  return fs
    .readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.ts'))
    .map(file => path.join(SOURCES, file))
    .sort();
}

const shown = (file: string): string => path.relative(path.dirname(SOURCES), file);

function eachNode(file: string, visit: (node: ts.Node) => void): void {
  const source = ts.createSourceFile(file, fs.readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022, true);
  const walk = (node: ts.Node): void => {
    visit(node);
    ts.forEachChild(node, walk);
  };
  walk(source);
}

interface StructLike {
  name: string;
  size: number;
  members: readonly { key: string; offset: number; size: number }[];
}

function isStruct(value: unknown): value is StructLike {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'struct';
}

/** The layout of `struct('name', { member: [size, ...] })`. */
function structOf(call: ts.CallExpression, file: string): Layout {
  const [name, object] = call.arguments;
  if (name === undefined || !ts.isStringLiteral(name) || object === undefined || !ts.isObjectLiteralExpression(object))
    throw new Error(`${file}: struct() with something else than a name and its members`);
  let offset = 0;
  const members = object.properties.map(property => {
    const row = ts.isPropertyAssignment(property) ? property.initializer : undefined;
    const size = row && ts.isArrayLiteralExpression(row) && row.elements[0] ? numberOf(row.elements[0]) : undefined;
    if (size === undefined) throw new Error(`${file}: struct ${name.text} has a member without a plain size`);
    const member = { name: property.name!.getText().replaceAll("'", ''), offset, size };
    offset += size;
    return member;
  });
  return { file, struct: name.text, size: offset, members };
}

function numberOf(node: ts.Expression): number | undefined {
  if (ts.isNumericLiteral(node)) return Number(node.text);
  if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.MinusToken) {
    const value = numberOf(node.operand as ts.Expression);
    return value === undefined ? undefined : -value;
  }
  return undefined;
}
