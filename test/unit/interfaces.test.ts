import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { expect, test } from 'vitest';

/**
 * Tests speak to what the library's users or other folders of it speak to: an index.ts, a file beside the rooms (errors.ts), or a file that another
 * folder of src imports. These are the others, which have an idea of their own that cannot be seen, or not in reasonable time, from outside.
 */
const DEEP: Readonly<Record<string, string>> = {
  'cluster/etcd.ts': 'etcd is killed, stopped and compacted while it is asked, without a host',
  'cluster/etcd-options.ts': 'gives the client of etcd its defaults',
  'cluster/lease.ts': 'loses etcd while it is held, without a host',
  'conntrack/monitor.ts': 'the fuzzer gives it the events of a hostile kernel',
  'conntrack/new-flow.ts': 'its message is a template for a million flows, which calls would take minutes to make',
  'container/modules.ts': 'the fuzzer gives it the texts of /proc, which are those of this kernel otherwise',
  'container/preflight.ts': 'is asked about kernels, modules and sysctls that this machine does not have',
  'container/redirects/port-map.ts': 'its order, and its pieces of work, are counted without a kernel',
  'container/redirects/ranges.ts': 'a model leads packets through ranges, 65,536 ports at a time',
  'container/redirects/reading.ts': 'the fuzzer gives it the elements of a hostile kernel',
  'ffi/functions.ts': 'the list of C functions is compared with musl, and each is called with a NUL',
  'ffi/pool.ts': 'its calls end when the test says so',
  'ffi/timer-watch.ts': 'its poll answers when the test says so; Node itself has no use for it',
  'iptables/arguments.ts': 'recorded command lines are read and refused, hundreds without a kernel',
  'iptables/compile.ts': 'recorded rules are compared with its expressions, without a kernel',
  'iptables/decompile.ts': 'recorded rules of the kernel are read by it',
  'iptables/iptables-operations.ts': 'its kernel has older matches than any that this project is tested on',
  'nf_tables/expression-literals.ts': 'each literal must make what the table of its expression makes',
  'nf_tables/xt/connection-targets.ts': 'the types of the structures must spell every field of these layouts',
  'nf_tables/xt/other-targets.ts': 'the types of the structures must spell every field of these layouts',
  'nf_tables/xt/packet-matches.ts': 'the types of the structures must spell every field of these layouts',
  'nf_tables/xt/packet-targets.ts': 'the types of the structures must spell every field of these layouts',
  'nf_tables/xt/protocol-matches.ts': 'the types of the structures must spell every field of these layouts',
  'nf_tables/xt/state-matches.ts': 'the types of the structures must spell every field of these layouts',
  'iptables/rule-lines.ts': 'its way to copy a line is switched off, to compare it with the other one',
  'iptables/restore.ts': 'its two ways to read a line are compared, hundreds of texts without a kernel',
  'iptables/saved-rules.ts': 'its two ways to read a rule are compared, hundreds of rules without a kernel',
  'ipvs/backends/dump-reader.ts': 'reads by itself what the tables read too: both are compared, byte by byte',
  'ipvs/connections.ts': 'parses lines of /proc, which are those of real traffic otherwise',
  'ipvs/operation.ts': 'writes by itself what the tables write too: both are compared, 1,000 times a second',
  'nf_tables/userdata.ts': 'the only table of its layout: its bytes are those of libnftnl',
  'nftables/plan/name-column.ts': 'a list that changes in any way must give the places of one that is looked at anew',
  'nflog/paced-watch.ts': 'its descriptor and its clock are those of the test',
  'nflog/sinks/output.ts': 'which memory is used again cannot be seen from outside',
  'nflog/slab.ts': 'which memory is read over cannot be seen from outside',
  'nflog/devices.ts': 'its socket answers when the test says so',
  'nflog/group-owner.ts': 'the fuzzer gives it the texts of /proc, which are those of this kernel otherwise',
  'nflog/operations.ts': 'the fuzzer gives it the answers of a hostile kernel',
  'nftables/commands.ts': 'compiles a document without a kernel: 3,000 recorded ones, and 10,000 random ones',
  'nftables/ranges/ranges.ts': 'a model with a list is its witness, over any sequence of changes',
  'nftables/plan/settled.ts': 'a plan from a model is the same: that none was made cannot be seen',
  'nftables/write/repeated-objects.ts': 'tells which objects are copies of the last ones, which the bytes do not show',
  'nftables/write/rule-shapes.ts': 'tells which rules are copies of a template, which the bytes do not show',
  'rtnetlink/rtnetlink.ts': 'the test registers a kind of its own, as a contributor would',
  'testing/devices.ts': 'gives a kernel in memory its device, where the test makes the machine itself',
  'testing/generic.ts': 'the requests of IPVS are seen and refused before the kernel in memory has them',
  'testing/nf_tables/conntrack-objects.ts': 'a kernel is asked which of these helpers it has',
};

interface Import {
  from: string;
  /** As a path from src. */
  to: string;
  names: { name: string; isType: boolean }[];
}

function importsOf(root: string, file: string): Import[] {
  const text = fs.readFileSync(path.join(root, file), 'utf8');
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
  const found: Import[] = [];
  const add = (specifier: ts.Node | undefined, names: Import['names'] = []) => {
    if (specifier === undefined || !ts.isStringLiteralLike(specifier) || !specifier.text.startsWith('.')) return;
    const to = path.relative('src', path.join(root, path.dirname(file), specifier.text));
    if (!to.startsWith('..')) found.push({ from: file, to, names });
  };
  const namesOf = (clause: ts.ImportClause | undefined): Import['names'] => {
    const bindings = clause?.namedBindings;
    if (clause === undefined || bindings === undefined || !ts.isNamedImports(bindings)) return [];
    return bindings.elements.map(each => ({
      name: (each.propertyName ?? each.name).text,
      isType: clause.isTypeOnly || each.isTypeOnly,
    }));
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, namesOf(node.importClause));
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0]);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

const filesOf = (root: string): string[] =>
  fs.readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts'));

const within = filesOf('src').flatMap(file => importsOf('src', file));
const imports = filesOf('test').flatMap(file => importsOf('test', file));

/** Files that another folder of src imports. */
const asked = new Set(within.filter(({ from, to }) => path.dirname(from) !== path.dirname(to)).map(({ to }) => to));
const isInterface = (file: string): boolean =>
  file.endsWith('index.ts') || !file.includes('/') || file.startsWith('linux/') || asked.has(file);

/** What the index.ts of a room exports by name of another file of the room: whether as a type alone. */
function exportsOf(room: string): Map<string, { isType: boolean }> {
  const file = path.join('src', room, 'index.ts');
  const found = new Map<string, { isType: boolean }>();
  if (!fs.existsSync(file)) return found;
  const source = ts.createSourceFile(file, fs.readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022, true);
  for (const statement of source.statements) {
    if (!ts.isExportDeclaration(statement) || statement.exportClause === undefined) continue;
    if (!ts.isNamedExports(statement.exportClause) || statement.moduleSpecifier === undefined) continue;
    const specifier = (statement.moduleSpecifier as ts.StringLiteral).text;
    for (const { name, isTypeOnly } of statement.exportClause.elements)
      found.set(`${path.join(room, specifier)} ${name.text}`, { isType: isTypeOnly || statement.isTypeOnly });
  }
  return found;
}

test('tests import interfaces, and files with a reason', () => {
  expect(imports.length).toBeGreaterThan(400);
  const deep = imports.filter(({ to }) => !isInterface(to));
  expect(deep.filter(({ to }) => !(to in DEEP)).map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  const used = new Set(deep.map(({ to }) => to));
  expect(Object.keys(DEEP).filter(file => !used.has(file))).toEqual([]);
});

test('tests import from the index of a room what that exports', () => {
  const around = imports.flatMap(({ from, to, names }) => {
    const exported = exportsOf(to.split('/')[0]!);
    return names
      .filter(({ name, isType }) => {
        const found = exported.get(`${to} ${name}`);
        return found !== undefined && (isType || !found.isType);
      })
      .map(({ name }) => `${from} imports ${name} of ${to}`);
  });
  expect(around).toEqual([]);
});
