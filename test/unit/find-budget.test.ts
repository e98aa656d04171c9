import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { findContainer } from '../../src/container/find.ts';

/* What a user may have written to keep root busy: 8 MiB and 50 ms of this process's time is all that is spent on it. */

const USER_MILLISECONDS = 50;
/**
 * The budget is counted in bytes, names and characters, so that what a search says does not depend on the machine. How long those take does: without a
 * budget these searches took 2.5 to 53 seconds.
 */
const ON_ANY_MACHINE = 10 * USER_MILLISECONDS;
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

/** What a search says, the time of this process that the cheapest of a few has taken, and how often timers were let run meanwhile. */
async function search(id: string): Promise<{ said: string; milliseconds: number; turns: number }> {
  let milliseconds = Number.POSITIVE_INFINITY;
  let turns = 0;
  let said = '';
  for (let i = 0; i < 5; i++) {
    turns = 0;
    const turn = setInterval(() => turns++, 0);
    const before = process.cpuUsage();
    said = await findContainer(id, {}, { root }).then(
      found => `${found.runtime} ${found.pid} ${found.network}`,
      error => error.message,
    );
    const { user, system } = process.cpuUsage(before);
    clearInterval(turn);
    milliseconds = Math.min(milliseconds, (user + system) / 1000);
  }
  return { said, milliseconds, turns };
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

describe("a user's containers.json of 8 MiB", () => {
  it.each(Object.entries(MANY))('%s, with links to it, is read once at most', async (_, text) => {
    machine();
    const folder = (i: number) => `home/web/.local/share/containers/storage/d${i}-containers/containers.json`;
    for (let i = 0; i < 20; i++) {
      fs.mkdirSync(join(root, `run/user/1000/containers/d${i}-containers/${ID}`), { recursive: true });
      if (i === 0) write(folder(0), text);
      else link(folder(0), folder(i));
    }
    const { said, milliseconds, turns } = await search('c5');
    expect(said).toMatch(/ERR_NO_CONTAINER.*the records of user 1000 (are larger than is read|take longer to read)/);
    expect(milliseconds).toBeLessThan(ON_ANY_MACHINE);
    expect(turns).toBeGreaterThan(1);
  });

  it('gives the id of a name that is in it', async () => {
    machine();
    write('home/web/.local/share/containers/storage/vfs-containers/containers.json', storage(18_000));
    const last = (17_999).toString(16).padStart(64, '0');
    write(`run/user/1000/containers/vfs-containers/${last}/userdata/pidfile`, '4242');
    write(`home/web/.local/share/containers/storage/vfs-containers/${last}/userdata/config.json`, '{}');
    const { said, milliseconds } = await search('c17999');
    expect(said).toBe('podman 4242 host');
    expect(milliseconds).toBeLessThan(ON_ANY_MACHINE);
  });
});

describe("a user's records of runc", () => {
  const state = (labels: number, pid = 4242) =>
    JSON.stringify({
      id: ID,
      init_process_pid: pid,
      init_process_start: 1,
      config: { namespaces: [NETWORK], labels: Array.from({ length: labels }, (_, i) => `l${i}=${'x'.repeat(30)}`) },
    });

  it('that are 60 hard links of one of 7 MiB end the search in them with a word', async () => {
    machine();
    for (let i = 0; i < 60; i++) {
      if (i === 0) write('run/user/1000/runc/c0/state.json', state(180_000));
      else link('run/user/1000/runc/c0/state.json', `run/user/1000/runc/c${i}/state.json`);
    }
    const { said, milliseconds } = await search('c5');
    expect(said).toMatch(/ERR_NO_CONTAINER.*the records of user 1000 take longer to read than they may/);
    expect(milliseconds).toBeLessThan(ON_ANY_MACHINE);
    expect((await search('absent')).milliseconds).toBeLessThan(ON_ANY_MACHINE);
  });

  it('beside others that are large is told from them by their beginnings', async () => {
    machine();
    write('run/user/1000/runc/web/state.json', state(10, process.pid));
    write('run/user/1000/runc/c0/state.json', state(180_000));
    for (let i = 1; i < 60; i++) link('run/user/1000/runc/c0/state.json', `run/user/1000/runc/c${i}/state.json`);
    // Its namespace is one with a name: whether others are in it is to be seen.
    write(`proc/${process.pid}/ns/net`, '');
    const { said, milliseconds } = await search('web');
    expect(said).toBe(`runc ${process.pid} own`);
    expect(milliseconds).toBeLessThan(ON_ANY_MACHINE);
  });

  it.each([
    ['names without end', 4500, (i: number) => fs.mkdirSync(join(root, `run/user/1000/runc/c${i}`))],
    ['small files without end', 300, (i: number) => write(`run/user/1000/runc/c${i}/state.json`, state(0))],
  ])('that are %s are not all looked at', async (_, count, make) => {
    machine();
    write('run/user/1000/runc/web/state.json', state(0, process.pid));
    write(`proc/${process.pid}/ns/net`, '');
    for (let i = 0; i < count; i++) make(i);
    const { said, milliseconds } = await search('web');
    expect(said).toMatch(/ERR_NO_CONTAINER.*the records of user 1000 (are more than are looked at|take longer)/);
    expect(milliseconds).toBeLessThan(ON_ANY_MACHINE);
  });

  it("keep nobody from what is another user's", async () => {
    machine();
    for (let i = 0; i < 4500; i++) fs.mkdirSync(join(root, `run/user/1000/runc/c${i}`), { recursive: true });
    write('run/user/1001/crun/web/status', JSON.stringify({ pid: 77 }));
    expect((await search('web')).said).toMatch(/^crun 77 /);
  });
});
