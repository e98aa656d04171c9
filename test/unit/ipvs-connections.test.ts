import fc from 'fast-check';
import type { Connection } from 'netsteer/ipvs';
import { describe, expect, it } from 'vitest';
import { DecodeError } from '../../src/errors.ts';
import { connectionsIn, parseConnection } from '../../src/ipvs/connections.ts';

const TITLE = 'Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n';
const LINE = 'TCP 0A0A0001 B2C4 0A0A0064 0050 C0A80032 1F90 ESTABLISHED     899\n';

async function read(...parts: string[]): Promise<{ found: Connection[]; skipped: [string, string][] }> {
  const queue = [...parts];
  const skipped: [string, string][] = [];
  const found: Connection[] = [];
  const connections = connectionsIn(
    async () => queue.shift() ?? '',
    (line, reason) => skipped.push([line, reason]),
  );
  for await (const connection of connections) found.push(connection);
  return { found, skipped };
}

describe('the connection table', () => {
  it('has IPv4 addresses as numbers', () => {
    expect(parseConnection(LINE.trimEnd())).toEqual({
      protocol: 'tcp',
      client: { address: '10.10.0.1', port: 45764 },
      virtual: { address: '10.10.0.100', port: 80 },
      destination: { address: '192.168.0.50', port: 8080 },
      state: 'ESTABLISHED',
      expiresSeconds: 899,
    });
  });

  it('has IPv6 addresses as text, also beside IPv4', () => {
    const line =
      'UDP 2001:0db8:0000:0000:0000:0000:0000:0001 0035 2001:0db8:0000:0000:0000:0000:0000:0064 0035 0A000001 0035 UDP             300';
    expect(parseConnection(line)).toMatchObject({
      protocol: 'udp',
      client: { address: '2001:db8::1', port: 53 },
      virtual: { address: '2001:db8::64', port: 53 },
      destination: { address: '10.0.0.1', port: 53 },
      state: 'UDP',
      expiresSeconds: 300,
    });
  });

  it('has the data of a persistence engine', () => {
    const line = 'UDP 0A0A0001 0000 0A0A0064 13C4 C0A80032 13C4 NONE            359 sip 4711@client with spaces';
    expect(parseConnection(line)).toMatchObject({ engine: 'sip', engineData: '4711@client with spaces' });
    expect(parseConnection(`${LINE.trimEnd()} sip `)).toMatchObject({ engine: 'sip', engineData: '' });
    expect(parseConnection(LINE.trimEnd())).not.toHaveProperty('engine');
  });

  it.each([
    ['', 'fields'],
    ['TCP', 'fields'],
    ['TCP 0A0A0001 B2C4 0A0A0064 0050 C0A80032 1F90 ESTABLISHED     -5', 'fields'],
    ['TCP 0A0A0001 B2C4 0A0A0064 0050 C0A80032 1F90 ESTABLISHED     99999999999', 'fields'],
    ['TCP 0A0A001 B2C4 0A0A0064 0050 C0A80032 1F90 ESTABLISHED     5', 'address or port'],
    ['TCP 0A0A0001 B2C4X 0A0A0064 0050 C0A80032 1F90 ESTABLISHED     5', 'address or port'],
    ['TCP 2001:db8::1 B2C4 0A0A0064 0050 C0A80032 1F90 ESTABLISHED     5', 'address or port'],
  ])('rejects the line %j with the reason', (line, reason) => {
    expect(parseConnection(line)).toContain(reason);
  });

  it('is read in parts of any size', async () => {
    const text = TITLE + LINE + LINE.replace('TCP', 'UDP');
    for (const size of [1, 7, 64, 1000]) {
      const parts = Array.from({ length: Math.ceil(text.length / size) }, (_, i) =>
        text.slice(i * size, (i + 1) * size),
      );
      expect((await read(...parts)).found.map(({ protocol }) => protocol)).toEqual(['tcp', 'udp']);
    }
    expect((await read(TITLE)).found).toEqual([]);
    expect((await read((TITLE + LINE).trimEnd())).found).toHaveLength(1);
  });

  it('leaves out malformed lines, and reports them', async () => {
    const { found, skipped } = await read(`${TITLE}odd \u001b[2J line\n${LINE}`);
    expect(found).toHaveLength(1);
    expect(skipped).toEqual([['odd \\x1b[2J line', 'it has not the fields of a connection']]);
  });

  it('rejects another table', async () => {
    await expect(read('something else\n')).rejects.toThrow(DecodeError);
    await expect(read(TITLE, 'x'.repeat(5000))).rejects.toThrow('a line without an end');
    expect(await read('')).toEqual({ found: [], skipped: [] });
  });

  it('survives any text', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: 'binary' }), { maxLength: 5 }), async parts => {
        const { found } = await read(TITLE, ...parts.filter(part => part !== ''));
        expect(found).toEqual([]);
      }),
    );
  });
});
