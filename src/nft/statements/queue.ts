import { argument } from '../compile/argument.ts';
import { fieldsOf, flagNames } from '../compile/json-fields.ts';
import { emit, loaded, parse, step } from '../compile/lower.ts';
import { TYPES } from '../data/datatypes.ts';
import { SCOPES } from '../data/scopes.ts';
import { words } from '../decompile/kernel-words.ts';
import { nodeJson } from '../decompile/to-json.ts';
import { nodeText } from '../decompile/to-text.ts';
import { expressionOf } from '../expressions/registry.ts';
import { defined, flagsJson, type Json, type JsonObject, orNull } from '../json-object.ts';
import { range, value } from '../nodes.ts';
import type { Parser } from '../parse/parser.ts';
import { T } from '../parse/tokens.ts';
import { type Node, Place, refuse } from '../tree.ts';
import type { Construct } from './construct.ts';

/* `queue`: hands the packet itself to a program (NFQUEUE). */

/** nft's words for the flags, with the kernel's. */
const FLAGS = { bypass: 'bypass', fanout: 'cpu-fanout' } as const;
/** 'bypass' accepts the packets of a queue without a listener; 'fanout' spreads them over several queues by processor. */
export type QueueFlag = keyof typeof FLAGS;
const FLAG_NAMES = /* @__PURE__ */ Object.keys(FLAGS) as QueueFlag[];

export interface QueueStatement {
  kind: 'queue';
  number: Node;
  flags: QueueFlag[];
}

/** The number of a term that is a constant. */
function numberOf(term: Node): number {
  if (term.kind !== 'value') throw refuse(term.place, 'the number of a queue', term.kind);
  return Number(term.value);
}

function readTextFlags(p: Parser, flags: Json[]): void {
  do {
    const { text } = p;
    if (p.kind !== T.WORD || !Object.hasOwn(FLAGS, text)) p.unexpected('bypass', 'fanout');
    p.next();
    if (!flags.includes(text)) flags.push(text);
  } while (p.accept(T.COMMA));
}

function readNumber(p: Parser, content: JsonObject, start = p.start): void {
  content.num = p.grammar.value(p);
  p.note(content, 'num', start);
}

/** Reads what follows `num`: a number or a range, no calculation. */
function readQueueNumber(p: Parser, content: JsonObject): void {
  // nft's errors show the word `num`, too.
  const { lastStart } = p;
  if (!p.is(T.NUMBER) && !p.is(T.DOLLAR)) p.unexpected('number', "'$'");
  readNumber(p, content, lastStart);
}

/** The highest number of a queue. */
const LAST_QUEUE = 0xffff;

/** @throws RangeError the number that is calculated for a packet can be too high */
function checkHighest(term: Node, place: Place): void {
  if (term.kind !== 'load') return;
  const { maximum } = expressionOf(term);
  const highest = maximum?.(term) ?? 0;
  if (highest <= LAST_QUEUE) return;
  throw refuse(place, `queues up to ${LAST_QUEUE}`, highest, `queue expression max value exceeds ${LAST_QUEUE}`);
}

export const QUEUE: Construct<QueueStatement, 'queue'> = {
  compile: {
    queue(e, json, place) {
      const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
      const flags = flagNames(FLAGS, fields.flags, new Place(place, 'flags'));
      const besides = flags.length > 0 ? { flags } : {};
      if (fields.num === undefined) {
        emit(e, { queue: { number: 0, total: 1, ...besides } });
        return;
      }
      const type = e.dialect.hasQueueType ? TYPES.queue : TYPES.integer;
      const term = argument(e, parse(fields.num, place, 'num'), type, 16, 'host');
      if (flags.includes('cpu-fanout') && term.kind !== 'range')
        throw refuse(
          new Place(place, 'num'),
          'a range of queues with fanout',
          fields.num,
          'fanout requires a range to be specified',
        );
      if (term.kind === 'range' || term.kind === 'value') {
        const [first, last] =
          term.kind === 'range' ? [numberOf(term.left), numberOf(term.right)] : [numberOf(term), numberOf(term)];
        emit(e, { queue: { number: first, total: last - first + 1, ...besides } });
        return;
      }
      checkHighest(term, new Place(place, 'num'));
      step(e, emitter => emitter.push({ queue: { numberRegister: loaded(emitter, term), ...besides } }));
    },
  },
  fromText: {
    queue(p) {
      const outer = p.scope;
      p.scope = SCOPES.queue;
      const content: JsonObject = {};
      const flags: Json[] = [];
      if (p.acceptWord('flags')) {
        readTextFlags(p, flags);
        if (p.acceptWord('num')) readQueueNumber(p, content);
        else {
          p.expectWord('to');
          readNumber(p, content);
        }
      } else if (p.acceptWord('to')) {
        readNumber(p, content);
      } else {
        if (p.acceptWord('num')) readQueueNumber(p, content);
        if (p.isWord('bypass') || p.isWord('fanout')) readTextFlags(p, flags);
      }
      if (flags.length > 0) content.flags = flags.length === 1 ? flags[0] : flags;
      p.hold(SCOPES.queue);
      p.scope = outer;
      return { queue: orNull(content) };
    },
  },
  read: {
    queue(registers, { numberRegister, number: first = 0, total = 0, flags: given }) {
      const set = words(given, Object.values(FLAGS));
      const flags = FLAG_NAMES.filter(flag => set.includes(FLAGS[flag]));
      if (numberRegister !== undefined) return { kind: 'queue', number: registers.get(numberRegister), flags };
      const at = (queue: number) => value(16, BigInt(queue), TYPES.integer, 'host');
      return { kind: 'queue', number: total > 1 ? range(at(first), at(first + total - 1)) : at(first), flags };
    },
  },
  complete(statement, rule) {
    const { kind } = statement.number;
    if (kind !== 'value' && kind !== 'range') statement.number = rule.node(statement.number);
  },
  text: ({ number, flags }, options) =>
    `queue${flags.length === 0 ? '' : ` flags ${flags.join(',')}`} to ${nodeText(number, options)}`,
  json: ({ number, flags }, options) => ({
    queue: defined({ num: nodeJson(number, options), flags: flagsJson(flags, options.words.dialect) }),
  }),
  ends: () => true,
};
