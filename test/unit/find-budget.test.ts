import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Budget } from '../../src/container/find/budget.ts';
import { findContainer } from '../../src/container/find/find.ts';
import type { SearchBudget } from '../../src/container/index.ts';

/*
 * What a user may have written to keep root busy: 8 MiB and 50 ms of this thread's time is all that is spent on it. What is spent is counted here as the budget
 * counts it, and time by a clock of the test, so that nothing depends on the machine.
 */

const USER_MICROSECONDS = 50_000;
const USER_BYTES = 8 << 20;
/** One piece is all that may go beyond. */
const MOST_PARSED = 512 << 10;
const MOST_SCANNED = 256 << 10;
const ID = '9779eb1f1433c8cdb889238abbd0d9956b7bcd0348e33fc66fb9a657f20b8f7f';
const NETWORK = { type: 'NEWNET', path: '/run/netns/x' };

let root = '';
const machine = () => {
  root = fs.mkdtempSync(join(tmpdir(), 'netsteer-budget-'));
  fs.mkdirSync(join(root, 'etc'));
  fs.writeFileSync(join(root, 'etc/passwd'), 'web:x:1000:1000::/home/web:/bin/sh\n');
};
afterEach(() => fs.rmSync(root, { recursive: true }));

const write = (path: string, text: string) => {
  fs.mkdirSync(join(root, path, '..'), { recursive: true });
  fs.writeFileSync(join(root, path), text);
};
const link = (from: string, to: string) => {
  fs.mkdirSync(join(root, to, '..'), { recursive: true });
  fs.linkSync(join(root, from), join(root, to));
};

interface Spent {
  said: string;
  /** As the budget reckons it, up to and with the piece that was refused. */
  microseconds: number;
  bytes: number;
  /** Work that was done in one piece. */
  parsed: number;
  scanned: number;
  /** How often timers were let run meanwhile. */
  turns: number;
}

/** Searches, and counts what is charged to the budgets of users. */
async function search(id: string, budget?: SearchBudget, clock: () => number = () => 0): Promise<Spent> {
  const spent: Spent = { said: '', microseconds: 0, bytes: 0, parsed: 0, scanned: 0, turns: 0 };
  const prototype = Budget.prototype;
  const { file, read, parse, scan, search: look } = prototype;
  const charged = (microseconds: number) => {
    spent.microseconds += microseconds;
  };
  vi.spyOn(prototype, 'file').mockImplementation(function (this: Budget) {
    file.call(this);
    charged(250);
  });
  vi.spyOn(prototype, 'read').mockImplementation(function (this: Budget, bytes) {
    read.call(this, bytes);
    spent.bytes += bytes;
    charged(bytes * 0.001);
  });
  vi.spyOn(prototype, 'parse').mockImplementation(function <T>(this: Budget, bytes: number, work: () => T): T {
    return parse.call(this, bytes, () => {
      spent.parsed = Math.max(spent.parsed, bytes);
      charged(3 + bytes * 0.03);
      return work();
    }) as T;
  });
  vi.spyOn(prototype, 'scan').mockImplementation(function <T>(this: Budget, bytes: number, work: () => T): T {
    return scan.call(this, bytes, () => {
      spent.scanned = Math.max(spent.scanned, bytes);
      charged(bytes * 0.004);
      return work();
    }) as T;
  });
  vi.spyOn(prototype, 'search').mockImplementation(function <T>(this: Budget, bytes: number, work: () => T): T {
    return look.call(this, bytes, () => {
      charged(bytes * 0.0005);
      return work();
    }) as T;
  });
  const turn = setInterval(() => spent.turns++, 0);
  try {
    spent.said = await findContainer(id, budget === undefined ? {} : { budget }, { root, clock }).then(
      found => `${found.runtime} ${found.pid} ${found.network}`,
      error => error.message,
    );
  } finally {
    clearInterval(turn);
    vi.restoreAllMocks();
  }
  return spent;
}

/** The files of the machine itself are counted with the user's: /etc/passwd and the folders of runtimes. */
const MACHINE_MICROSECONDS = 5_000;

function expectWithin({ microseconds, bytes, parsed, scanned }: Spent): void {
  expect(microseconds).toBeLessThanOrEqual(USER_MICROSECONDS + MACHINE_MICROSECONDS);
  expect(bytes).toBeLessThanOrEqual(USER_BYTES + 1024);
  expect(parsed).toBeLessThanOrEqual(MOST_PARSED);
  expect(scanned).toBeLessThanOrEqual(MOST_SCANNED);
}

/** containers.json as containers/storage writes it. */
const storage = (count: number) =>
  JSON.stringify(
    Array.from({ length: count }, (_, i) => ({
      id: i.toString(16).padStart(64, '0'),
      names: [`c${i}`],
      image: ID,
      layer: ID,
      metadata: '{"image-name":"docker.io/library/x:latest","name":"c[{\\"\\\\"}',
      created: '2026-11-30T00:00:00Z',
      flags: { MountLabel: '', ProcessLabel: '' },
    })),
  );

const MANY: Record<string, string> = {
  'of a user who has many containers': storage(18_000),
  'of brackets': `[${'[],'.repeat(2_700_000)}`,
  'that is nested without end': '['.repeat(8_000_000),
  'in which every element has the name': `[${'["c5"],'.repeat(1_100_000)}`,
  'with nothing but the name': `[${'"c5",'.repeat(1_600_000)}`,
  'of one container with the name': JSON.stringify([{ names: ['c5'], x: 'y'.repeat(8_000_000) }]),
  'that is a text without an end': `["${'c5'.repeat(4_000_000)}`,
};

describe('a containers.json of 8 MiB in the folders of a user', () => {
  it.each(Object.entries(MANY))('that is %s is read at most once', async (_, text) => {
    machine();
    const folder = (i: number) => `home/web/.local/share/containers/storage/d${i}-containers/containers.json`;
    for (let i = 0; i < 20; i++) {
      fs.mkdirSync(join(root, `run/user/1000/containers/d${i}-containers/${ID}`), { recursive: true });
      if (i === 0) write(folder(0), text);
      else link(folder(0), folder(i));
    }
    const spent = await search('c5');
    expect(spent.said).toMatch(
      /ERR_NO_CONTAINER.*the records of user 1000 (are larger than is read|take longer to read)/,
    );
    expectWithin(spent);
    expect(spent.turns).toBeGreaterThan(1);
  });

  it('gives the id of a name in it', async () => {
    machine();
    write('home/web/.local/share/containers/storage/vfs-containers/containers.json', storage(18_000));
    const last = (17_999).toString(16).padStart(64, '0');
    write(`run/user/1000/containers/vfs-containers/${last}/userdata/pidfile`, '4242');
    write(`home/web/.local/share/containers/storage/vfs-containers/${last}/userdata/config.json`, '{}');
    const spent = await search('c17999');
    expect(spent.said).toBe('podman 4242 host');
    expectWithin(spent);
  });
});

describe('records of runc in the folder of a user', () => {
  const state = (labels: number, pid = 4242) =>
    JSON.stringify({
      id: ID,
      init_process_pid: pid,
      init_process_start: 1,
      config: { namespaces: [NETWORK], labels: Array.from({ length: labels }, (_, i) => `l${i}=${'x'.repeat(30)}`) },
    });

  it('that are 60 hard links to a file of 7 MiB end the search there with a warning', async () => {
    machine();
    for (let i = 0; i < 60; i++) {
      if (i === 0) write('run/user/1000/runc/c0/state.json', state(180_000));
      else link('run/user/1000/runc/c0/state.json', `run/user/1000/runc/c${i}/state.json`);
    }
    const spent = await search('c5');
    expect(spent.said).toMatch(/ERR_NO_CONTAINER.*the records of user 1000 are larger than is read of them/);
    expectWithin(spent);
    expectWithin(await search('absent'));
  });

  it('are told from large records beside them by their beginnings', async () => {
    machine();
    write('run/user/1000/runc/web/state.json', state(10, process.pid));
    write('run/user/1000/runc/c0/state.json', state(180_000));
    for (let i = 1; i < 60; i++) link('run/user/1000/runc/c0/state.json', `run/user/1000/runc/c${i}/state.json`);
    // Its namespace is one with a name: whether others are in it is to be seen.
    write(`proc/${process.pid}/ns/net`, '');
    const spent = await search('web');
    expect(spent.said).toBe(`runc ${process.pid} own`);
    expectWithin(spent);
  });

  it.each([
    ['names without end', 4500, (i: number) => fs.mkdirSync(join(root, `run/user/1000/runc/c${i}`))],
    ['small files without end', 300, (i: number) => write(`run/user/1000/runc/c${i}/state.json`, state(0))],
  ])('that are %s are not all read', async (_, count, make) => {
    machine();
    write('run/user/1000/runc/web/state.json', state(0, process.pid));
    write(`proc/${process.pid}/ns/net`, '');
    for (let i = 0; i < count; i++) make(i);
    const spent = await search('web');
    expect(spent.said).toMatch(/ERR_NO_CONTAINER.*the records of user 1000 (are more than are looked at|take longer)/);
    expectWithin(spent);
  });

  it("do not keep another user's container from being found", async () => {
    machine();
    for (let i = 0; i < 4500; i++) fs.mkdirSync(join(root, `run/user/1000/runc/c${i}`), { recursive: true });
    write('run/user/1001/crun/web/status', JSON.stringify({ pid: 77 }));
    expect((await search('web')).said).toMatch(/^crun 77 /);
  });
});

describe('the budget of a search', () => {
  const large = () => {
    machine();
    write('home/web/.local/share/containers/storage/vfs-containers/containers.json', storage(18_000));
    const last = (17_999).toString(16).padStart(64, '0');
    write(`run/user/1000/containers/vfs-containers/${last}/userdata/pidfile`, '4242');
    write(`home/web/.local/share/containers/storage/vfs-containers/${last}/userdata/config.json`, '{}');
  };

  it('is what the caller sets', async () => {
    large();
    expect((await search('c17999', { bytes: 1 << 20 })).said).toMatch(/user 1000 are larger than is read of them/);
    expect((await search('c17999', { milliseconds: 2 })).said).toMatch(/user 1000 take longer to read than they may/);
    expect((await search('c17999', { bytes: 64 << 20, milliseconds: 1000 })).said).toBe('podman 4242 host');
  });

  it('ends after the piece that took longer than the limit', async () => {
    large();
    let now = 0;
    let pieces = 0;
    // Each piece takes 10 ms of the processor, beside what is counted: the sixth is the last one at most.
    const clock = () => {
      pieces++;
      now += 10_000;
      return now;
    };
    expect((await search('c17999', {}, clock)).said).toMatch(/user 1000 take longer to read than they may/);
    expect(pieces / 2).toBeGreaterThan(1);
    expect((pieces / 2) * 10_000).toBeLessThanOrEqual(USER_MICROSECONDS + 10_000);
  });

  it.each([
    [{ bytes: 65_535 }, 'budget.bytes'],
    [{ bytes: 2 ** 31 }, 'budget.bytes'],
    [{ milliseconds: 0 }, 'budget.milliseconds'],
    [{ milliseconds: 60_001 }, 'budget.milliseconds'],
    [{ milliseconds: '50' }, 'budget.milliseconds'],
    [{ seconds: 1 }, 'budget.seconds'],
    [[], 'budget'],
  ])('rejects %j at its path', async (budget, attribute) => {
    machine();
    await expect(findContainer('web', { budget: budget as SearchBudget }, { root })).rejects.toMatchObject({
      attribute,
      code: expect.stringMatching(/^ERR_/),
    });
  });
});
