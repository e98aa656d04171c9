import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { evaluate } from '../support/compiled.ts';

/*
 * CONTRIBUTING.md has an example for each usual change, and a list of the files that it touches. Here the changes are made in a copy of the
 * sources: the lists are the files of the patches, the types hold, and what is new works in both directions.
 */

const PATCHES = 'test/fixtures/contributing';

/** A script for each patch that uses what is new, and prints what came of it. */
const EXAMPLES: Record<string, { patch: string; script: string; gives: unknown }> = {
  'An IPVS field': {
    patch: 'ipvs-field',
    script: `
      import { NO_CONTEXT, sourceOf, Writer } from './codec/index.js';
      import { destinationTable } from './ip_vs/attributes.js';
      import { readDestinationSettings, writeDestination } from './ip_vs/destination.js';
      import { isSameDestination } from './ip_vs/wire.js';
      import { formatRules, fromJson, parseRules, toJson } from './ipvs/index.js';
      const service = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'rr' };
      const made = priority => writeDestination(service, { address: '10.1.0.1', port: 80, forward: 'direct', priority }, 2);
      const writer = new Writer();
      destinationTable.write(writer, made(7), NO_CONTEXT);
      const bytes = writer.copy();
      const read = destinationTable.read(sourceOf(bytes), 0, bytes.length, NO_CONTEXT);
      const settings = readDestinationSettings(read, 2);
      const server = { ...service, destinations: [settings] };
      const text = formatRules([server]);
      let refused = '';
      try { made(256); } catch (error) { refused = error.attribute; }
      console.log(JSON.stringify({
        read: settings.priority,
        same: [isSameDestination(made(7), read, 2), isSameDestination(made(6), read, 2)],
        text: /--priority 7/.test(text),
        parsed: parseRules(text)[0].destinations?.[0].priority,
        json: fromJson(toJson([server]))[0].destinations[0].priority,
        refused,
      }));`,
    gives: { read: 7, same: [true, false], text: true, parsed: 7, json: 7, refused: 'priority' },
  },
  'An NFLOG attribute': {
    patch: 'nflog-attribute',
    script: `
      import { NO_CONTEXT, sourceOf, Writer } from './codec/index.js';
      import { packetTable } from './nflog/attributes.js';
      import { PacketBatch } from './nflog/batch.js';
      import { Packet } from './nflog/packet.js';
      import { RecordSink } from './nflog/sinks/records.js';
      const made = values => {
        const writer = new Writer();
        writer.zeros(4);
        packetTable.write(writer, values, NO_CONTEXT);
        const bytes = writer.copy();
        return new Packet(sourceOf(bytes), 0, bytes.length, { microseconds: 1, devices: { nameOf: () => 'eth0' } });
      };
      const records = [];
      const take = fields => records.push(fields.priority);
      const logger = { debug: take, info: take, warn: take, error: take };
      new RecordSink(logger, { fields: ['priority'] }, { name: 'web1', netns: 1 }).take(PacketBatch.of([made({ priority: 6 })]));
      const payload = Buffer.from([0x45, 0, 0, 20, ...new Uint8Array(16)]).toString('hex');
      console.log(JSON.stringify({
        read: made({ priority: 6 }).priority, none: made({}).priority === undefined, json: made({ priority: 6 }).toJSON().priority, records,
        text: / PRIORITY=6$/.test(made({ header: { hw_protocol: 0x800, hook: 3 }, payload, priority: 6 }).summary()) }));`,
    gives: { read: 6, none: true, json: 6, records: [6], text: true },
  },
  'A kind of link': {
    patch: 'link-kind',
    script: `
      import { fromJson, NO_CONTEXT, sourceOf, toJson, Writer } from './codec/index.js';
      import { LINKS } from './rtnetlink/links/link.js';
      import { KINDS } from './rtnetlink/links/kinds.js';
      const kind = KINDS.find(({ name }) => name === 'geneve');
      const { data } = kind.write({ name: 'g7', geneve: { id: 7 } });
      const writer = new Writer();
      kind.data.write(writer, data, NO_CONTEXT);
      const bytes = writer.copy();
      const refused = [];
      for (const options of [{ name: 'g' }, { name: 'g', geneve: { id: 2 ** 24 } }, { name: 'g', id: -1 }])
        try { kind.write(options); } catch (error) { refused.push(error.attribute); }
      console.log(JSON.stringify({
        read: kind.data.read(sourceOf(bytes), 0, bytes.length, NO_CONTEXT), flat: kind.write({ name: 'g7', id: 7 }).data, json: fromJson(toJson(data)), refused }));`,
    gives: { read: { id: 7 }, flat: { id: 7 }, json: { id: 7 }, refused: ['id', 'geneve.id', 'id'] },
  },
  'A flag of an expression': {
    patch: 'expression-flag',
    script: `
      import { compileRule, decodeMessage, decompileRule, encodeMessage, fib, formatRule, drop } from './nftables/index.js';
      const statements = [fib('saddr', 'dscp').oif.eq(0), drop()];
      const { expressions } = compileRule({ family: 'ip', statements });
      const rule = { family: 'ip', table: 't', chain: 'c', expressions };
      const { object } = decodeMessage(encodeMessage({ type: 'newrule', family: 'ip', object: { table: 't', chain: 'c', expressions } }));
      console.log(JSON.stringify({
        read: object.expressions[0].fib.flags,
        text: formatRule(rule).includes('fib saddr . dscp oif'),
        json: decompileRule(rule)[0].match.left.fib.flags,
      }));`,
    gives: { read: ['saddr', 'dscp'], text: true, json: ['saddr', 'dscp'] },
  },
  'A statement': {
    patch: 'statement',
    script: `
      import { compileRule, decodeMessage, decompileRule, encodeMessage, formatRule, parseRule } from './nftables/index.js';
      const compiled = delay => compileRule({ family: 'ip', statements: [{ delay }, { accept: null }] }).expressions;
      const expressions = compiled({ milliseconds: 20 });
      const { object } = decodeMessage(encodeMessage({ type: 'newrule', family: 'ip', object: { table: 't', chain: 'c', expressions } }));
      const rule = { family: 'ip', table: 't', chain: 'c', expressions: object.expressions };
      const refused = [];
      for (const statement of [{ milliseconds: -1 }, 5])
        try { compiled(statement); } catch (error) { refused.push(error.path.join('.')); }
      console.log(JSON.stringify({ read: object.expressions[0], text: formatRule(rule), json: decompileRule(rule), parsed: parseRule(formatRule(rule), rule), refused }));`,
    gives: {
      read: { delay: { milliseconds: 20 } },
      text: 'delay 20ms accept',
      json: [{ delay: { milliseconds: 20 } }, { accept: null }],
      parsed: [{ delay: { milliseconds: 20 } }, { accept: null }],
      refused: ['statements.0.delay.milliseconds', 'statements.0.delay'],
    },
  },
  'A flag of a statement': {
    patch: 'statement-flag',
    script: `
      import { compileRule, decodeMessage, decompileRule, encodeMessage, formatRule, queue } from './nftables/index.js';
      const compiled = flags => compileRule({ family: 'ip', statements: [queue({ num: [0, 3], flags })] }).expressions;
      const expressions = compiled(['spread', 'bypass']);
      const { object } = decodeMessage(encodeMessage({ type: 'newrule', family: 'ip', object: { table: 't', chain: 'c', expressions } }));
      const rule = { family: 'ip', table: 't', chain: 'c', expressions: object.expressions };
      let refused = '';
      try { compiled('spraed'); } catch (error) { refused = error.message; }
      console.log(JSON.stringify({
        read: object.expressions[0].queue.flags, text: formatRule(rule), json: decompileRule(rule)[0].queue.flags, refused: /spread/.test(refused) }));`,
    gives: {
      read: ['bypass', 'spread'],
      text: 'queue flags bypass,spread to 0-3',
      json: ['bypass', 'spread'],
      refused: true,
    },
  },
  'A key of a load expression': {
    patch: 'load-key',
    script: `
      import { compileRule, decodeMessage, decompileRule, encodeMessage, formatRule } from './nftables/index.js';
      const match = { match: { op: '==', left: { rt: { key: 'priority' } }, right: 5 } };
      const { expressions } = compileRule({ family: 'ip', statements: [match, { accept: null }] });
      const rule = { family: 'ip', table: 't', chain: 'c', expressions };
      const { object } = decodeMessage(encodeMessage({ type: 'newrule', family: 'ip', object: { table: 't', chain: 'c', expressions } }));
      console.log(JSON.stringify({
        read: object.expressions[0].rt.key, text: formatRule(rule).includes('rt priority 5'), json: decompileRule(rule)[0] }));`,
    gives: { read: 'priority', text: true, json: { match: { op: '==', left: { rt: { key: 'priority' } }, right: 5 } } },
  },
  'A load expression': {
    patch: 'load-expression',
    script: `
      import { compileRule, decodeMessage, decompileRule, encodeMessage, formatRule, parseRule } from './nftables/index.js';
      const match = { match: { op: '==', left: { echo: { key: 3 } }, right: 5 } };
      const compiled = statements => compileRule({ family: 'ip', statements }).expressions;
      const expressions = compiled([match, { accept: null }]);
      const { object } = decodeMessage(encodeMessage({ type: 'newrule', family: 'ip', object: { table: 't', chain: 'c', expressions } }));
      const rule = { family: 'ip', table: 't', chain: 'c', expressions: object.expressions };
      let refused;
      try { compiled([{ match: { op: '==', left: { echo: { key: -1 } }, right: 5 } }]); } catch (error) { refused = error.path.join('.'); }
      console.log(JSON.stringify({ read: object.expressions[0], text: formatRule(rule), json: decompileRule(rule)[0], parsed: parseRule(formatRule(rule), rule)[0], refused }));`,
    gives: {
      read: { echo: { register: 1, key: 3 } },
      text: 'echo 3 5 accept',
      json: { match: { op: '==', left: { echo: { key: 3 } }, right: 5 } },
      parsed: { match: { op: '==', left: { echo: { key: 3 } }, right: 5 } },
      refused: 'statements.0.match.left.echo.key',
    },
  },
};

let root = '';
beforeAll(() => {
  root = fs.mkdtempSync(join(tmpdir(), 'netsteer-contributing-'));
  for (const folder of ['src', 'native', 'package.json']) fs.cpSync(folder, join(root, folder), { recursive: true });
  fs.symlinkSync(resolve('node_modules'), join(root, 'node_modules'));
  for (const { patch } of Object.values(EXAMPLES))
    execFileSync('git', ['apply', resolve(PATCHES, `${patch}.patch`)], {
      cwd: root,
      env: { ...process.env, GIT_CEILING_DIRECTORIES: tmpdir() },
    });
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

/** The files that a patch touches. */
const filesOf = (patch: string): string[] =>
  [...fs.readFileSync(join(PATCHES, `${patch}.patch`), 'utf8').matchAll(/^\+\+\+ b\/(.*)$/gm)].map(match => match[1]!);

/** The files that a section of CONTRIBUTING.md lists. */
function listed(title: string): string[] {
  const page = fs.readFileSync('CONTRIBUTING.md', 'utf8');
  const section = page.split(/^## /m).find(text => text.startsWith(`${title}\n`)) ?? '';
  return [...section.matchAll(/^- `(.*?)`:/gm)].map(match => match[1]!);
}

describe('the examples of CONTRIBUTING.md', () => {
  it.each(Object.entries(EXAMPLES))('%s: the list is that of the files which the patch touches', (title, { patch }) => {
    expect(listed(title).sort()).toEqual(filesOf(patch).sort());
  });

  it('are all there', () => {
    expect(fs.readdirSync(PATCHES).sort()).toEqual(
      Object.values(EXAMPLES)
        .map(({ patch }) => `${patch}.patch`)
        .sort(),
    );
    const titles = [...fs.readFileSync('CONTRIBUTING.md', 'utf8').matchAll(/^## (An? .*)$/gm)].map(match => match[1]);
    expect(titles).toEqual(Object.keys(EXAMPLES));
  });

  it('compile', () => {
    const { config } = ts.readConfigFile('tsconfig.json', ts.sys.readFile);
    const { options } = ts.parseJsonConfigFileContent({ ...config, include: ['src'] }, ts.sys, root);
    const files = fs
      .readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
      .filter(name => name.endsWith('.ts'))
      .map(name => join(root, 'src', name));
    const program = ts.createProgram(files, { ...options, typeRoots: [join(root, 'node_modules', '@types')] });
    const found = ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => {
      return `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
    });
    expect(found).toEqual([]);
  });

  it.each(Object.entries(EXAMPLES))('%s: works in both directions', (_, { script, gives }) => {
    expect(evaluate(script, { root })).toEqual(gives);
  });
});
