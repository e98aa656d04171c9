import { describe, expect, test } from 'vitest';
import { opt, u32be } from '../../src/codec/index.ts';
import { PROPERTIES, packetAttributes, packetTable } from '../../src/nflog/attributes.ts';
import { PacketBatch } from '../../src/nflog/batch.ts';
import { RecordSink } from '../../src/nflog/sinks/records.ts';
import { Random } from '../support/fuzz/random.ts';
import { packetOf, type Raw } from '../support/nflog-message.ts';
import { Encoder } from '../support/tables.ts';

/*
 * A row of the packet table that a packet does not show is lost without a sign: each row must change what `toJSON` and a record say, or stand here with the
 * reason why it does not.
 */

/** Not shown by a packet: the bytes of `linkHeader` say how many they are. */
const NOT_IN_JSON = ['hardwareLength'];
/** Not shown by a record either: the type of a device says nothing about the packet. */
const NOT_IN_RECORDS = [...NOT_IN_JSON, 'hardwareType'];
/** A connection is shown where both of its attributes are there. */
const WITH: Record<string, string> = { conntrack: 'conntrackInfo', conntrackInfo: 'conntrack' };
/** Bytes that chance does not make: a hook that is a sender's, a connection with a mark. */
const SAMPLES: Record<string, string> = { header: '08000300', conntrack: '0800080000000007' };
const BRIDGE = 7;

const rows = packetTable.fields.map(({ key }) => key);

function attribute(key: string): Raw {
  const { number, type } = packetTable.fields.find(field => field.key === key)!;
  if (SAMPLES[key] !== undefined) return [number, SAMPLES[key]];
  // Long enough to say something, and no mark or user 0.
  const shortest = type.lengths?.min || 12;
  for (let seed = 1; seed < 1000; seed++) {
    const bytes = new Encoder(new Random(seed), 0).bytesOf(type);
    if (bytes.length >= shortest && bytes.some(byte => byte > 1)) return [number, bytes];
  }
  throw new Error(`no bytes for ${key}`);
}

const packet = (keys: readonly string[]) => packetOf(keys.map(attribute), BRIDGE);
const without = (key: string) => rows.filter(each => each !== key && (WITH[key] === each || !isAlternative(key, each)));

/** The link-layer header may stand in either of two attributes. */
const isAlternative = (key: string, other: string): boolean =>
  (key === 'hardwareHeader' && other === 'linkHeader') || (key === 'linkHeader' && other === 'hardwareHeader');

function recordOf(keys: readonly string[]): unknown {
  let found: unknown;
  const info = (fields: object) => {
    found = fields;
  };
  const logger = { info, warn() {}, error() {}, debug() {} };
  const all = ['hook', 'inDevice', 'outDevice', 'physInDevice', 'physOutDevice', 'vlan', 'hardwareAddress'];
  const properties = PROPERTIES.filter(({ says }) => says.record !== 'never').map(({ key }) => key);
  const fields = [...all, 'etherType', 'conntrack', ...properties, 'summary', 'payload'] as never[];
  new RecordSink(logger, { fields }, { name: 'web1', netns: 1 }).take(PacketBatch.of([packet(keys)]));
  return found;
}

describe('every row of the table of packets', () => {
  test.each(rows.filter(key => !NOT_IN_JSON.includes(key)))('is a property of the packet: %s', key => {
    expect(packet([...without(key), key]).toJSON()).not.toEqual(packet(without(key)).toJSON());
  });

  test.each(rows.filter(key => !NOT_IN_RECORDS.includes(key)))('is a field of a record: %s', key => {
    expect(recordOf([...without(key), key])).not.toEqual(recordOf(without(key)));
  });

  test('a row that does not say what packets show of it is refused', () => {
    expect(() => packetAttributes({ priority: opt(u32be(22)) })).toThrow('the row priority has no facets');
  });

  test('is either shown or listed here as hidden', () => {
    expect(rows).toEqual(expect.arrayContaining(NOT_IN_RECORDS));
  });
});
