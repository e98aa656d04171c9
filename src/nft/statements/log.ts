import type { ContentOf } from '../../nf_tables/expression.ts';
import { LOG_LEVELS } from '../../nf_tables/names.ts';
import { entryOf, fieldsOf, flagNames, numberOf } from '../compile/json-fields.ts';
import { type Compile, emit } from '../compile/lower.ts';
import { SCOPES } from '../data/scopes.ts';
import { words } from '../decompile/kernel-words.ts';
import { defined, flagsJson, type Json, type JsonObject, orNull } from '../json-object.ts';
import type { Parser } from '../parse/parser.ts';
import { T } from '../parse/tokens.ts';
import { Place, refuse, Undecompilable } from '../tree.ts';
import type { Construct } from './construct.ts';

/* `log`: to the kernel's log, or to the readers of an NFLOG group. */

/** nft's words for the flags, with the kernel's. The kernel has one flag more, `nflog`, which it sets itself. */
const FLAGS = {
  'tcp sequence': 'tcp-sequence',
  'tcp options': 'tcp-options',
  'ip options': 'ip-options',
  skuid: 'skuid',
  ether: 'ether',
} as const;
type Flag = keyof typeof FLAGS;
const FLAG_NAMES = /* @__PURE__ */ Object.keys(FLAGS) as Flag[];

/** The severity of a message in the kernel's own log. */
export type LogLevel = keyof typeof LOG_LEVELS;
/** Headers that the kernel's own log prints, too. */
export type LogFlag = Flag | 'all';

/** A log of packets: of NFLOG if there is a `group`. */
export interface Log {
  /** NFLOG's group, 0 to 65535. Default: the kernel's own log, which containers do not see. */
  group?: number;
  /** At most 127 bytes. */
  prefix?: string;
  /** Bytes of the packet to hand over. */
  snaplen?: number;
  /** Packets that the kernel gathers before it wakes the listener. */
  'queue-threshold'?: number;
  /** The severity, in the kernel's own log only. */
  level?: LogLevel;
  /** What the kernel's own log shows in addition. */
  flags?: LogFlag | LogFlag[];
}

export interface LogStatement {
  kind: 'log';
  prefix: string | undefined;
  group: number | undefined;
  snaplen: number | undefined;
  threshold: number | undefined;
  level: string | undefined;
  flags: Flag[];
}
type LogExpression = ContentOf<'log'>;

const compile: Compile = (e, json, place) => {
  const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
  const { prefix } = fields;
  if (prefix !== undefined && (typeof prefix !== 'string' || prefix === '' || Buffer.byteLength(prefix) > 127))
    throw refuse(new Place(place, 'prefix'), 'text of 1 to 127 bytes', prefix);
  const flags = allFlags(fields.flags) ?? flagNames(FLAGS, fields.flags, new Place(place, 'flags'));
  const level =
    fields.level === undefined ? undefined : entryOf<number>(LOG_LEVELS, fields.level, new Place(place, 'level'));
  const toGroup = ['group', 'snaplen', 'queue-threshold'].some(name => fields[name] !== undefined);
  if (toGroup && (level !== undefined || flags.length > 0))
    throw refuse(
      place,
      "a group, or the level and flags of the kernel's own log",
      json,
      `${level === undefined ? 'flags' : 'level'} and group are mutually exclusive`,
    );
  if (level === LOG_LEVELS.audit && (prefix !== undefined || flags.length > 0))
    throw refuse(place, 'nothing besides level audit', json, "log level audit doesn't support any further options");
  const log: LogExpression = {};
  if (fields.group !== undefined) log.group = numberOf(fields, 'group', place, 0xffff);
  if (prefix !== undefined) log.prefix = prefix;
  if (fields.group !== undefined) {
    if (fields.snaplen !== undefined) log.snaplen = numberOf(fields, 'snaplen', place);
    if (fields['queue-threshold'] !== undefined)
      log.queueThreshold = numberOf(fields, 'queue-threshold', place, 0xffff);
  } else {
    if (level !== undefined) log.level = level;
    if (flags.length > 0) log.flags = flags;
  }
  emit(e, { log });
};

/** The word `all` in the place of flags, or among them. */
function allFlags(json: unknown): (typeof FLAGS)[Flag][] | undefined {
  return json === 'all' || (Array.isArray(json) && json.includes('all')) ? Object.values(FLAGS) : undefined;
}

function levelName(number: number): string {
  for (const [name, level] of Object.entries(LOG_LEVELS)) if (level === number) return name;
  throw new Undecompilable(`the level ${number}`);
}

/** The flags in nft's text: those of TCP after one word. */
function flagsText(flags: readonly Flag[]): string {
  if (flags.length === FLAG_NAMES.length) return ' flags all';
  const tcp = flags.filter(flag => flag.startsWith('tcp '));
  const others = flags.filter(flag => !tcp.includes(flag)).map(flag => ` flags ${flag}`);
  const both = tcp.join(',').replace(',tcp ', ',');
  return [...(tcp.length > 0 ? [` flags ${both}`] : []), ...others].join('');
}

/** Reads a prefix. Variables in it begin with a dollar. */
function readPrefix(p: Parser): Json {
  const { start, kind, text } = p;
  if (kind !== T.QUOTED) return p.string();
  p.next();
  return text.replace(/\$([A-Za-z0-9_]*)/g, (_, name: string) => {
    const found = p.variables?.find(name);
    if (found === undefined) return p.fail(`unknown identifier '${name}'`, start);
    return String(found.value);
  });
}

/** Reads a level. nft takes `warning` and `error`, too. */
function readLevel(p: Parser): string {
  const { start } = p;
  const text = p.string();
  const level = text === 'warning' ? 'warn' : text === 'error' ? 'err' : text;
  if (!Object.hasOwn(LOG_LEVELS, level)) p.fail('invalid log level', start);
  return level;
}

/** Reads the words behind `flags`. */
function readFlags(p: Parser): string[] {
  const { text } = p;
  if (p.kind !== T.WORD) return p.unexpected();
  if (text === 'tcp') {
    p.next();
    const flags: string[] = [];
    do {
      if (!p.isWord('sequence') && !p.isWord('options')) p.unexpectedIn(SCOPES.tcp, 'seq', 'options');
      flags.push(`tcp ${p.text}`);
      p.next();
    } while (p.accept(T.COMMA));
    return flags;
  }
  if (text === 'ip') {
    p.next();
    if (!p.acceptWord('options')) p.unexpectedIn(SCOPES.ip, 'options');
    return ['ip options'];
  }
  if (text !== 'skuid' && text !== 'ether' && text !== 'all') return p.unexpected();
  p.next();
  return [text];
}

export const LOG: Construct<LogStatement, 'log'> = {
  compile: { log: compile },
  fromText: {
    log(p) {
      const content: JsonObject = {};
      const outer = p.scope;
      p.scope = SCOPES.log;
      while (p.kind === T.WORD) {
        const { text } = p;
        if (text === 'prefix') {
          p.next();
          content.prefix = readPrefix(p);
        } else if (text === 'group' || text === 'snaplen' || text === 'queue-threshold') {
          p.next();
          const at = p.start;
          content[text] = p.whole();
          p.note(content, text, at);
        } else if (text === 'level') {
          p.next();
          content.level = readLevel(p);
        } else if (text === 'flags') {
          p.next();
          const flags = readFlags(p);
          const before = Array.isArray(content.flags) ? content.flags : [];
          content.flags = [...before, ...flags.filter(flag => !before.includes(flag))];
        } else {
          break;
        }
      }
      if (Array.isArray(content.flags) && content.flags.length === 1) content.flags = content.flags[0];
      p.hold(SCOPES.log);
      p.scope = outer;
      return { log: orNull(content) };
    },
  },
  read: {
    log(_, { prefix, group, snaplen, queueThreshold: threshold, level, flags }) {
      const set = words(flags, [...Object.values(FLAGS), 'nflog']);
      return {
        kind: 'log',
        prefix,
        group,
        snaplen,
        threshold,
        level: typeof level === 'number' ? levelName(level) : level,
        flags: FLAG_NAMES.filter(flag => set.includes(FLAGS[flag])),
      };
    },
  },
  text({ prefix, group, snaplen, threshold, level, flags }, { words: { unwritable } }) {
    let text = 'log';
    if (prefix !== undefined) text += ` prefix ${unwritable.prefix(prefix)}`;
    if (group !== undefined) text += ` group ${group}`;
    if (snaplen !== undefined) text += ` snaplen ${snaplen}`;
    if (threshold !== undefined) text += ` queue-threshold ${threshold}`;
    // The level warn is the default.
    if (level !== undefined && level !== 'warn') text += ` level ${level}`;
    return text + flagsText(flags);
  },
  json: ({ prefix, group, snaplen, threshold, level, flags }, { words: { dialect } }) => ({
    log: orNull(
      defined({
        prefix,
        group,
        snaplen,
        'queue-threshold': threshold,
        level: level === 'warn' ? undefined : level,
        flags: flagsJson(flags.length === FLAG_NAMES.length ? ['all'] : flags, dialect),
      }),
    ),
  }),
};
