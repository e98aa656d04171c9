import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Consumer, RUNTIMES, theConsumer } from '../consumer.ts';
import { kernelSuite } from '../support/where.ts';

const PROGRAM = 'program.mjs';

kernelSuite('the packed package on each runtime', () => {
  let consumer: Consumer;
  beforeAll(() => {
    consumer = theConsumer();
    fs.copyFileSync(`test/fixtures/runtimes/${PROGRAM}`, join(consumer.folder, PROGRAM));
  });
  afterAll(() => consumer.remove());

  for (const [runtime, [program, ...options]] of Object.entries(RUNTIMES)) {
    it(`writes rules, reads packets and events, enters namespaces, rejects wrong input with ERR_INVALID_ARG_TYPE, and ends by itself on ${runtime}`, () => {
      const { folder: cwd } = consumer;
      const output = execFileSync(join(cwd, program), [...options, PROGRAM], { cwd, encoding: 'utf8' });
      expect(JSON.parse(output)).toEqual({
        redirects: 5000,
        tables: ['netsteer-redirects', 'seen'],
        changes: 2,
        packets: [
          ['seen ', 'lo'],
          ['seen ', 'lo'],
        ],
        inside: true,
        outside: true,
        refused: 'ERR_INVALID_ARG_TYPE',
      });
    });
  }
});
