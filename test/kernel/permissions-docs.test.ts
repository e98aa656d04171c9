import { expect, it } from 'vitest';
import { evaluate } from '../support/compiled.ts';
import { SnippetsOf } from '../support/snippets.ts';
import { kernelSuite } from '../support/where.ts';

const page = new SnippetsOf('test/kernel/permissions-docs.test.ts');
/** The only example of the page: opens a log, becomes nobody, and reads. */
const example = page.take('setuid').code.replace(/^import .*$/m, '');

kernelSuite('docs/permissions.md', () => {
  it('shows a reader of logs that opens first, drops all rights and continues, and says what else still works', () => {
    const script = `
      import { spawn } from 'node:child_process';
      import fs from 'node:fs';
      import { Container } from './container/index.js';
      import { NetNs } from './netns/index.js';
      import { Nflog } from './nflog/index.js';
      import { Transaction } from './nftables/index.js';
      import { Links } from './rtnetlink/index.js';

      const netns = NetNs.create();
      const web1 = Container.open({ netns });
      const links = Links.open({ netns });
      await links.set('lo', { up: true });
      const logged = { group: 5, prefix: 'web1 ' };
      await web1.logging.set([logged]);
      const sender = netns.run(() =>
        spawn('bash', ['--norc', '-c', 'while read; do echo hello > /dev/udp/127.0.0.1/9; done'], { stdio: ['pipe', 'ignore', 'inherit'] }),
      );
      // Not before the event loop turns: the example has become nobody by then.
      const timer = setInterval(() => sender.stdin.write('go\\n'), 20);
      let log;
      const known = {
        web1,
        Nflog: { open: options => (log = Nflog.open(options)) },
        console: { log(line) { throw { line, uid: process.getuid() }; } },
      };
      const AsyncFunction = (async () => {}).constructor;
      const read = await new AsyncFunction(...Object.keys(known), ${JSON.stringify(example)})(...Object.values(known)).catch(thrown => thrown);
      clearInterval(timer);
      sender.stdin.end();

      const code = async attempt => {
        try { await attempt(); return 'works'; } catch (error) { return error.code; }
      };
      const status = fs.readdirSync('/proc/self/task').map(task => fs.readFileSync('/proc/self/task/' + task + '/status', 'utf8'));
      console.log(JSON.stringify({
        read: read.line === undefined ? String(read) : read,
        groups: process.getgroups(),
        capabilities: [...new Set(status.flatMap(text => text.match(/^Cap(Prm|Eff):.*/gm)))],
        codes: {
          'read links': await code(() => links.list()),
          'change a link': await code(() => links.set('lo', { up: false })),
          'read rules': await code(() => web1.logging.list()),
          'change rules': await code(() => web1.logging.set([logged, { ...logged, group: 6 }])),
          'commit': await code(() => web1.nftables.commit(new Transaction().add({ table: { family: 'ip', name: 't' } }))),
          'add a group': await code(() => log.addGroup(6)),
          'open another log': await code(() => Nflog.open({ netns, groups: [6] })),
          'enter': await code(() => netns.run(() => {})),
          'make a namespace': await code(() => NetNs.create()),
          'close': await code(async () => { await log[Symbol.asyncDispose](); await web1[Symbol.asyncDispose](); links.close(); netns.close(); }),
        },
      }));`;
    expect(example).toContain('setuid');
    expect(evaluate(script)).toEqual({
      read: { line: expect.stringMatching(/^web1 IN=lo .* SRC=127\.0\.0\.1 .* PROTO=UDP /), uid: 65534 },
      groups: [65534],
      capabilities: ['CapPrm:\t0000000000000000', 'CapEff:\t0000000000000000'],
      codes: {
        'read links': 'works',
        'change a link': 'EPERM',
        'read rules': 'EPERM',
        'change rules': 'EPERM',
        commit: 'EPERM',
        'add a group': 'EPERM',
        'open another log': 'EPERM',
        enter: 'EPERM',
        'make a namespace': 'EPERM',
        close: 'works',
      },
    });
  });

  it('has no other example', () => {
    expect(page.left).toEqual([]);
  });
});
