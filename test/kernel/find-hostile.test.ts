import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { Container, Fleet, NetNs, Nftables } from 'netsteer';
import { Transaction } from 'netsteer/nftables';
import { afterEach, expect, it } from 'vitest';
import { scratchFolder } from '../support/bundle.ts';
import { CleanUps } from '../support/clean-ups.ts';
import { FakeEngine } from '../support/engine.ts';
import { inTime } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/* A user of the host runs a daemon of his own at the socket of a rootless docker, and would like to be believed about the containers of others. */

const UID = 54_321;
const OTHER = 54_322;
const NAME = `netsteer-hostile-${process.pid}`;
const RUN = `/run/user/${UID}`;

const cleanUps = new CleanUps();
afterEach(async () => {
  await cleanUps.run();
  running = undefined;
});

const asUser = (uid: number, ...command: string[]) => [
  'setpriv',
  `--reuid=${uid}`,
  `--regid=${uid}`,
  '--clear-groups',
  ...command,
];

function start(command: readonly string[]): ChildProcess {
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise(resolve => child.once('close', resolve));
  cleanUps.add(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return child;
}

/** A process in a network namespace of its own: root's, or made by a user within a user namespace of his. */
async function inhabitant(uid?: number): Promise<number> {
  const apart = ['unshare', '--net', ...(uid === undefined ? [] : ['--user', '--map-root-user']), 'sleep', 'infinity'];
  const { pid } = start(uid === undefined ? apart : asUser(uid, ...apart));
  await expect.poll(() => fs.readFileSync(`/proc/${pid}/comm`, 'utf8')).toBe('sleep\n');
  return pid!;
}

/** One answer of the user's daemon, and what he does before he gives it. */
interface Step {
  pid?: unknown;
  mode?: unknown;
  /** A link to this takes the place of the socket. */
  link?: string;
  /** The socket goes, and his own records say it instead. */
  record?: number;
  body?: string;
  /** No answer, or one byte in a second. */
  silent?: boolean;
  slow?: boolean;
}

/** It begins anew, with another plan, at each SIGUSR1. */
const DAEMON = `
  const http = require('node:http'), fs = require('node:fs'), path = require('node:path');
  const [socket, file] = process.argv.slice(1);
  let plan = [], asked = 0, server, timers = [];
  const answer = (request, response) => {
    const step = plan[Math.min(asked++, plan.length - 1)];
    if (step.link) {
      fs.symlinkSync(step.link, socket + '.new');
      fs.renameSync(socket + '.new', socket);
    }
    if (step.record) {
      fs.unlinkSync(socket);
      const folder = path.join(path.dirname(socket), 'crun', 'c0ffee');
      fs.mkdirSync(folder, { recursive: true });
      fs.writeFileSync(folder + '/status', JSON.stringify({ pid: step.record }));
      fs.writeFileSync(folder + '/config.json', JSON.stringify({ linux: { namespaces: [{ type: 'network' }] } }));
    }
    if (step.silent) return;
    const told = { Id: 'c0ffee', Name: '/${NAME}', State: { Pid: step.pid }, HostConfig: { NetworkMode: 'mode' in step ? step.mode : 'bridge' } };
    const text = step.body ?? JSON.stringify(told);
    if (!step.slow) response.end(text);
    else timers.push(setInterval(() => response.write(' '), 500));
  };
  const begin = () => {
    for (const timer of timers.splice(0)) clearInterval(timer);
    server?.closeAllConnections();
    server?.close();
    fs.rmSync(socket, { force: true });
    fs.rmSync(path.join(path.dirname(socket), 'crun'), { recursive: true, force: true });
    plan = JSON.parse(fs.readFileSync(file, 'utf8'));
    asked = 0;
    server = http.createServer(answer).listen(socket, () => console.log('listening'));
  };
  process.on('SIGUSR1', begin);
  begin();`;

let running: { child: ChildProcess; file: string } | undefined;

/** The user's daemon, once it listens. */
async function daemon(plan: readonly Step[], uid = UID, socket = `${RUN}/docker.sock`): Promise<void> {
  const text = JSON.stringify(plan);
  if (running === undefined) {
    fs.mkdirSync(RUN, { recursive: true });
    fs.chownSync(RUN, UID, UID);
    cleanUps.add(() => fs.rmSync(RUN, { recursive: true, force: true }));
    const file = join(scratchFolder(cleanUps), 'plan');
    fs.writeFileSync(file, text);
    running = { child: start(asUser(uid, process.execPath, '-e', DAEMON, socket, file)), file };
  } else {
    fs.writeFileSync(running.file, text);
    running.child.kill('SIGUSR1');
  }
  const { child } = running;
  await new Promise(resolve => child.stdout!.once('data', resolve));
}

const outcome = (find: Promise<Container>): Promise<string> =>
  find.then(
    container => {
      const { inode } = container.netns;
      container.close();
      return `opened ${inode}`;
    },
    error => error.code as string,
  );

kernelSuite('a search among daemons and records of users', () => {
  it("believes a user's daemon about that user's containers", async () => {
    const mine = await inhabitant(UID);
    await daemon([{ pid: mine }]);
    expect(await outcome(Container.find(NAME))).toBe(`opened ${fs.statSync(`/proc/${mine}/ns/net`).ino}`);
    await using container = await Container.find(NAME, { socket: `${RUN}/docker.sock` });
    expect(container.id).toBe('c0ffee');
  });

  it('never returns a process of another user, whatever the daemon changes between two questions', async () => {
    const [mine, victim, neighbour] = [await inhabitant(UID), await inhabitant(), await inhabitant(OTHER)];
    const ofRoot = new FakeEngine();
    cleanUps.add(() => ofRoot.close());
    const rootSocket = join(scratchFolder(cleanUps), 'root.sock');
    await ofRoot.listen(rootSocket);
    fs.chmodSync(rootSocket, 0o666);
    ofRoot.start('c0ffee', NAME, victim);
    const plans: Step[][] = [];
    for (const pid of [victim, neighbour, 1, process.pid]) {
      plans.push([{ pid }], [{ pid: mine }, { pid }], [{ pid }, { pid: mine }]);
      for (const link of ['/etc/passwd', '/proc/1/exe', rootSocket, '/nowhere', `/proc/${victim}/ns/net`])
        plans.push([{ pid, link }], [{ pid: mine }, { pid, link }], [{ pid: mine, link }]);
      plans.push([{ pid, record: pid }], [{ pid: mine, record: pid }]);
    }
    for (const plan of plans) {
      for (const options of [{}, { socket: `${RUN}/docker.sock` }, { allowHost: true, allowShared: true }]) {
        await daemon(plan);
        const said = await outcome(Container.find(NAME, options));
        expect(said, JSON.stringify([plan, options])).toMatch(/^ERR_(NO_CONTAINER|RUNTIME|HOST_NAMESPACE)$/);
      }
    }
  });

  it('passes over a daemon that sends nonsense, too much or nothing: rejects with ERR_NO_CONTAINER, and a named runtime with ERR_RUNTIME', async () => {
    const pids = [2 ** 53 - 1, 2 ** 31, 2 ** 32 + 1, -1, 1.5, '12', null, true, [1], {}, 0];
    const plans: Step[][] = [
      ...pids.map(pid => [{ pid }]),
      [{ body: 'x'.repeat(5 << 20) }],
      [{ body: `{"Id":"c0ffee","x":[${'[],'.repeat(90_000)}0],"State":{"Pid":1}}` }],
      [{ body: '' }],
      [{ body: 'null' }],
      [{ silent: true }],
      [{ slow: true }],
    ];
    for (const plan of plans) {
      await daemon(plan);
      const error = await inTime(Container.find(NAME).catch(error => error));
      expect(error, JSON.stringify(plan).slice(0, 80)).toMatchObject({ code: 'ERR_NO_CONTAINER' });
      if (plan[0]!.pid !== 0) expect(error.hint).toContain(`${RUN}/docker.sock`);
      const named = Container.find(NAME, { socket: `${RUN}/docker.sock` });
      const code = plan[0]!.pid === 0 ? 'ERR_NO_CONTAINER' : 'ERR_RUNTIME';
      await expect(named, JSON.stringify(plan).slice(0, 80)).rejects.toMatchObject({ code });
    }
  });

  it.each([
    ['host', 'ERR_HOST_NAMESPACE'],
    ['container:1', 'ERR_SHARED_NAMESPACE'],
    ['ns:/proc/1/ns/net', 'ERR_SHARED_NAMESPACE'],
    ['pod', 'ERR_SHARED_NAMESPACE'],
    ['', 'ERR_SHARED_NAMESPACE'],
    [null, 'ERR_SHARED_NAMESPACE'],
    [7, 'ERR_SHARED_NAMESPACE'],
    ['new-kind:of', 'ERR_SHARED_NAMESPACE'],
  ])('rejects a container with the network mode %j, which has no network of its own: with %s', async (mode, code) => {
    await daemon([{ pid: await inhabitant(UID), mode }]);
    expect(await outcome(Container.find(NAME))).toBe(code);
  });

  it('rejects a socket that two users can replace with ERR_NO_CONTAINER, and a named runtime with ERR_RUNTIME', async () => {
    const theirs = await inhabitant(OTHER);
    fs.mkdirSync(RUN, { recursive: true });
    fs.chmodSync(RUN, 0o777);
    await daemon([{ pid: theirs }], OTHER);
    expect(await outcome(Container.find(NAME))).toBe('ERR_NO_CONTAINER');
    expect(await outcome(Container.find(NAME, { socket: `${RUN}/docker.sock` }))).toBe('ERR_RUNTIME');
  });

  it('believes a daemon whose socket is in a folder of root only about its own user: rejects with ERR_NO_CONTAINER', async () => {
    const [victim, theirs] = [await inhabitant(), await inhabitant(OTHER)];
    const folder = scratchFolder(cleanUps);
    const socket = join(folder, 'docker.sock');
    fs.chmodSync(folder, 0o1777);
    await daemon([{ pid: victim }, { pid: theirs }], OTHER, socket);
    // Even where the socket itself has been given to root.
    fs.chownSync(socket, 0, 0);
    expect(await outcome(Container.find(NAME, { socket }))).toBe('ERR_NO_CONTAINER');
    expect(await outcome(Container.find(NAME, { socket }))).toBe(`opened ${fs.statSync(`/proc/${theirs}/ns/net`).ino}`);
  });
});

kernelSuite('a record of a user', () => {
  const records: Record<string, (pid: number) => [string, object | string][]> = {
    crun: pid => [
      ['crun/web/status', { pid }],
      ['crun/web/config.json', { linux: { namespaces: [{ type: 'network' }] } }],
    ],
    runc: pid => [
      ['runc/web/state.json', { init_process_pid: pid, config: { namespaces: [{ type: 'NEWNET', path: '' }] } }],
    ],
    podman: pid => [
      ['containers/vfs-containers/web/userdata/pidfile', String(pid)],
      ['containers/vfs-containers/web/userdata/config.json', { linux: { namespaces: [{ type: 'network' }] } }],
    ],
  };

  it.each(Object.entries(records))('of %s is believed only about processes of that user', async (runtime, files) => {
    const [mine, victim, neighbour] = [await inhabitant(UID), await inhabitant(), await inhabitant(OTHER)];
    cleanUps.add(() => fs.rmSync(RUN, { recursive: true, force: true }));
    for (const pid of [mine, victim, neighbour, 1, process.pid, 2 ** 31, 2 ** 53 - 1, 0, -1]) {
      fs.rmSync(RUN, { recursive: true, force: true });
      for (const [path, content] of files(pid)) {
        fs.mkdirSync(join(RUN, path, '..'), { recursive: true });
        fs.writeFileSync(join(RUN, path), typeof content === 'string' ? content : JSON.stringify(content));
      }
      for (const path of fs.readdirSync(RUN, { recursive: true, encoding: 'utf8' }))
        fs.chownSync(join(RUN, path), UID, UID);
      fs.chownSync(RUN, UID, UID);
      const said = await outcome(Container.find('web', { runtime: runtime as 'crun' }));
      if (pid === mine) expect(said).toBe(`opened ${fs.statSync(`/proc/${mine}/ns/net`).ino}`);
      else expect(said, String(pid)).toMatch(/^ERR_(NO_CONTAINER|HOST_NAMESPACE)$/);
    }
  });
});

kernelSuite('a watching fleet beside daemons of users', () => {
  const STATE = { transaction: new Transaction().add({ table: { family: 'ip', name: 'watched' } }) };

  const tablesOf = (pid: number): string[] => {
    const netns = NetNs.open({ pid });
    const nft = Nftables.open({ netns });
    try {
      return nft.sync.tables().map(({ name }) => name);
    } finally {
      nft.close();
      netns.close();
    }
  };

  it('asks a daemon twice, programs only containers with a network of their own, and rejects others with ERR_NO_CONTAINER', async () => {
    const engine = new FakeEngine();
    const socket = join(scratchFolder(cleanUps), 'docker.sock');
    await engine.listen(socket);
    cleanUps.add(() => engine.close());
    const [named, changing, other, last] = [
      await inhabitant(),
      await inhabitant(),
      await inhabitant(),
      await inhabitant(),
    ];
    const fleet = Fleet.open();
    const watching = fleet.watch(STATE, { directories: [], runtimes: [socket] });
    cleanUps.add(async () => {
      watching.close();
      await fleet[Symbol.asyncDispose]();
    });
    await expect.poll(() => engine.listeners).toBe(1);
    engine.start('1', 'named', named, `ns:/proc/${named}/ns/net`);
    engine.start('2', 'odd', named, 'unheard:of');
    let asked = 0;
    engine.onTold = () => {
      asked++;
      // The second answer is another one.
      if (asked === 3) engine.start('3', 'changing', other);
    };
    engine.start('3', 'changing', changing);
    const events = watching[Symbol.asyncIterator]();
    expect((await events.next()).value).toMatchObject({
      event: 'failed',
      name: 'changing',
      error: { code: 'ERR_NO_CONTAINER' },
    });
    engine.start('4', 'last', last);
    for (;;) {
      const { value } = await events.next();
      if (value.name === 'last') break;
    }
    expect([named, changing].map(tablesOf)).toEqual([[], []]);
    expect(tablesOf(last)).toEqual(['watched']);
  });
});
