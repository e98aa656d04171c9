import { BatchError, Ipvs, type NetNs } from 'netsteer';
import {
  formatRules,
  formatTable,
  parseRules,
  type RuleError,
  type RuleFailure,
  type SchedulerFlag,
  type TableView,
} from 'netsteer/ipvs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { freshIpvsNamespaces, ipvs, ipvsadm, netns, withLoopback } from '../support/ipvs-namespace.ts';
import { kernelSuite } from '../support/where.ts';

/** Where numbers lie 2^31 apart, ipvsadm's order depends on the kernel's, which differs from namespace to namespace. */
const lines = (text: string): string[] => text.split('\n').sort();

const TEXT = `
-A -t 10.0.0.1:80 -s sh -b sh-fallback,sh-port -p 600 -M 255.255.255.0
-a -t 10.0.0.1:80 -r 10.1.0.1 -m -w 70000
-a -t 10.0.0.1:80 -r 10.1.0.1:81 -m -w 2147483647
-a -t 10.0.0.1:80 -r 192.168.7.7:81 -m
-a -t 10.0.0.1:80 -r 10.1.0.2 -i --tun-type gue --tun-port 6080 --tun-remcsum
-a -t 10.0.0.1:80 -r 10.1.0.3 -i --tun-type gre --tun-csum
-a -t 10.0.0.1:80 -r 10.1.0.4 -i --tun-type gue --tun-port 6080
-a -t 10.0.0.1:80 -r 10.1.0.5 -i --tun-type gre
-a -t 10.0.0.1:80 -r [2001:db8::9]:80 -i
-a -t 10.0.0.1:80 -r 127.0.0.1:80 -g
-A -t 192.168.0.1:80 -s rr
-A -t 100.0.0.1:80 -s rr -b flag-1,flag-3
-A -t 127.255.255.255:80
-A -t 1.0.0.1:80 -s rr
-A -t 200.0.0.1:80 -s rr
-A -u 10.0.0.9:5060 -s mh -b mh-port -p 60 -o --pe sip -M 255.255.0.0
-A -u 10.0.0.9:53 -s fo --ops
-A --sctp-service 10.0.0.1:9999 -s ovf
-A -f 5 -s rr
-a -f 5 -r 10.1.0.1 -m
-A -f 5 -6 -s rr -p 10 -M 64
-A -t [2001:db8::1]:80 -s wlc
-a -t [2001:db8::1]:80 -r [2001:db8:1111:2222:3333:4444:5555:6666]:80 -m
-a -t [2001:db8::1]:80 -r 10.1.0.4:80 -i
-A -t [fe80::1]:80 -s wlc
`;

/** Every option by its long name, in the order of a man. */
const LONG = `
ipvsadm --add-service --tcp-service 10.0.0.1:80 --scheduler mh --sched-flags mh-fallback,mh-port --persistent 600 --netmask 255.255.255.0
--add-service --udp-service 10.0.0.9:5060 --scheduler rr --ops --persistent 60 --pe sip
--add-service --sctp-service 10.0.0.2:9999 --scheduler lc
--add-service --fwmark-service 7 --ipv6 --scheduler sh --sched-flags sh-fallback
--add-service --fwmark-service 8 --scheduler sh --sched-flags flag-2,flag-3
--add-service --tcp-service 10.0.0.5:80
--add-server --tcp-service 10.0.0.1:80 --real-server 10.1.0.1:8080 --masquerading --weight 9 --u-threshold 100 --l-threshold 50
--add-server --tcp-service 10.0.0.1:80 --real-server 10.1.0.2 --gatewaying
--add-server --tcp-service 10.0.0.1:80 --real-server 10.1.0.3 --ipip --tun-type gue --tun-port 6080 --tun-csum
--add-server --tcp-service 10.0.0.1:80 --real-server 10.1.0.4 --ipip --tun-type gue --tun-port 6080 --tun-remcsum
--add-server --tcp-service 10.0.0.1:80 --real-server 10.1.0.5 --ipip --tun-type gre --tun-nocsum
--add-server --tcp-service 10.0.0.1:80 --real-server 10.1.0.6 --ipip --tun-type gre --tun-csum
--add-server --tcp-service 10.0.0.1:80 --real-server 10.1.0.7 --ipip --tun-type ipip
--add-server --tcp-service 10.0.0.1:80 --real-server 10.1.0.8 --ipip
--edit-service --udp-service 10.0.0.9:5060 --scheduler wrr --persistent 30
--edit-server --tcp-service 10.0.0.1:80 --real-server 10.1.0.2 --gatewaying --weight 3
--delete-server --tcp-service 10.0.0.1:80 --real-server 10.1.0.8
--delete-service --tcp-service 10.0.0.5:80
--zero
--zero --tcp-service 10.0.0.1:80
--set 901 121 301
--start-daemon backup --mcast-interface lo --syncid 7 --sync-maxlen 1400 --mcast-group 224.0.0.99 --mcast-port 9000 --mcast-ttl 4
`;

/** Options of ipvsadm that print, or read such a text: -R takes none of them in a line. */
const LISTING = [
  'clear list connection timeout daemon stats rate exact thresholds persistent-conn tun-info nosort sort numeric',
  'restore save help stop-daemon',
]
  .join(' ')
  .split(' ');

const VIEWS: [TableView, string[]][] = [
  ['connections', []],
  ['stats', ['--stats']],
  ['rate', ['--rate']],
  ['thresholds', ['--thresholds']],
  ['persistence', ['--persistent-conn']],
  ['tunnels', ['--tun-info']],
];

kernelSuite('the text of ipvsadm', () => {
  let other: NetNs;
  let theirs: Ipvs;
  freshIpvsNamespaces();

  beforeEach(() => {
    other = withLoopback();
    theirs = Ipvs.open({ netns: other });
  });
  afterEach(async () => {
    await theirs[Symbol.asyncDispose]();
    other.close();
  });

  it('is carried out as by ipvsadm -R', async () => {
    ipvsadm(other, ['-R'], TEXT);
    const result = await ipvs.restore(TEXT);
    expect(result).toMatchObject({ outcome: 'all', failures: [] });
    expect(lines(ipvsadm(netns, ['-Sn']))).toEqual(lines(ipvsadm(other, ['-Sn'])));
    expect(await ipvs.save()).toBe(ipvsadm(netns, ['-Sn']));
    // Both directions once more: their text here, our text there.
    ipvs.sync.flush();
    ipvs.sync.restore(theirs.sync.save());
    const text = ipvs.sync.save();
    theirs.sync.flush();
    ipvsadm(other, ['-R'], text);
    expect(lines(theirs.sync.save())).toEqual(lines(text));
    const { servers } = theirs.sync.snapshot();
    expect(lines(formatRules(parseRules(text)))).toEqual(lines(formatRules(servers)));
  });

  it('is read with every option that ipvsadm has', async () => {
    ipvsadm(other, ['-R'], LONG);
    expect(await ipvs.restore(LONG)).toMatchObject({ outcome: 'all', failures: [] });
    for (const options of [['-Sn'], ['-Ln', '--daemon'], ['-Ln', '--timeout'], ['-Ln', '--thresholds']]) {
      expect(lines(ipvsadm(netns, [...options]))).toEqual(lines(ipvsadm(other, [...options])));
    }
    expect(ipvsadm(netns, ['-Ln', '--daemon'])).toContain('port=9000');
    // Its help names all there are.
    const named = [...ipvsadm(netns, ['--help']).matchAll(/(?<= )--([a-z][a-z-]+)/g)].map(([, name]) => name!);
    const missing = named.filter(name => !LISTING.includes(name) && !LONG.includes(`--${name}`));
    expect(named.length).toBeGreaterThan(40);
    expect(missing).toEqual([]);
    const stop = '--stop-daemon backup\n--clear';
    ipvsadm(other, ['-R'], stop);
    await ipvs.restore(stop);
    for (const options of [['-Sn'], ['-Ln', '--daemon']]) {
      expect(ipvsadm(netns, [...options])).toBe(ipvsadm(other, [...options]));
    }
    expect(await ipvs.syncDaemons()).toEqual([]);
  });

  it.each<[string, SchedulerFlag[]]>([
    ['sh', ['sh-fallback']],
    ['sh', ['sh-port']],
    ['sh', ['flag-3']],
    ['mh', ['mh-fallback']],
    ['mh', ['mh-port']],
    ['mh', ['mh-fallback', 'mh-port', 'flag-3']],
    ['wrr', ['flag-1']],
    ['wrr', ['flag-2']],
    ['wrr', ['flag-1', 'flag-2', 'flag-3']],
  ])('has the flags of %s: %j', async (scheduler, schedulerFlags) => {
    const service = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler, schedulerFlags } as const;
    await ipvs.addService(service);
    expect((await ipvs.service(service)).schedulerFlags).toEqual(schedulerFlags);
    // ipvsadm knows two flags of sh and mh, and prints those alone.
    const shown = schedulerFlags.filter(flag => flag !== 'flag-3' || scheduler === 'wrr');
    expect(ipvsadm(netns, ['-Sn'])).toBe(`-A -t 10.0.0.1:80 -s ${scheduler} -b ${shown.join(',')}\n`);
    const printed = ipvsadm(netns, ['-Ln']);
    expect(formatTable(await ipvs.services({ destinations: true }))).toBe(printed.slice(printed.indexOf('\n') + 1));
  });

  it('keeps what ipvsadm -S leaves out', async () => {
    const rule = '-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1 -x 100 -y 50\n';
    const service = '-A -t 10.0.0.1:80 -s sh -b sh-port,flag-3\n';
    await ipvs.restore(service + rule);
    expect(ipvsadm(netns, ['-Sn'])).not.toContain('-x');
    expect(await ipvs.save()).toBe(service + rule);
    // And ipvsadm takes it.
    ipvsadm(other, ['-R'], await ipvs.save());
    expect(await theirs.save()).toBe(service + rule);
  });

  it('equals the table of ipvsadm in every view, spaces included', async () => {
    await ipvs.restore(`${TEXT}\n-e -t 10.0.0.1:80 -r 192.168.7.7:81 -m -x 100 -y 50`);
    const servers = await ipvs.services({ destinations: true });
    for (const [view, options] of VIEWS) {
      const printed = ipvsadm(netns, ['-Ln', ...options]);
      expect(formatTable(servers, view)).toBe(printed.slice(printed.indexOf('\n') + 1));
    }
    const printed = ipvsadm(netns, ['-Ln', '--stats', '--exact']);
    expect(formatTable(servers, 'stats', { exact: true })).toBe(printed.slice(printed.indexOf('\n') + 1));
  });

  it('edits, removes, zeroes and sets timeouts', async () => {
    const text = `
      -A -t 10.0.0.1:80 -s wrr -p 60
      -a -t 10.0.0.1:80 -r 10.1.0.1 -m -w 5 -x 9
      -a -t 10.0.0.1:80 -r 10.1.0.2 -m
      -A -f 3
      -E -t 10.0.0.1:80 -s lc
      -e -t 10.0.0.1:80 -r 10.1.0.1 -i
      -d -t 10.0.0.1:80 -r 10.1.0.2
      -D -f 3
      -Z
      -Z -t 10.0.0.1:80
      --set 901 0 301`;
    const before = ipvs.sync.timeouts();
    ipvsadm(other, ['-R'], text);
    await ipvs.restore(text);
    expect(ipvsadm(netns, ['-Sn'])).toBe(ipvsadm(other, ['-Sn']));
    expect(await ipvs.save()).toBe(
      '-A -t 10.0.0.1:80 -s lc\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -i -w 1 --tun-type ipip\n',
    );
    expect(await ipvs.timeouts()).toEqual({ ...before, tcpSeconds: 901, udpSeconds: 301 });
    await ipvs.restore('-C');
    expect(await ipvs.save()).toBe('');
  });

  it('sends nothing when a line is bad', async () => {
    const bad = '-A -t 10.0.0.1:80 -s rr\n-A -t 10.0.0.2:80 -s nosuch\n';
    const error: RuleError = await ipvs.restore(bad).then(
      () => expect.unreachable(),
      reason => reason,
    );
    expect(error).toBeInstanceOf(RangeError);
    expect(error).toMatchObject({ line: 2, text: '-A -t 10.0.0.2:80 -s nosuch' });
    expect(await ipvs.save()).toBe('');
  });

  it('undoes the other lines when the kernel refuses one, unless rollback is false', async () => {
    const there = '-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1\n';
    await ipvs.restore(there);
    const text = '\n-A -t 10.0.0.2:80 -s rr\n-A -t 10.0.0.1:80 -s rr\n-d -t 10.0.0.1:80 -r 10.1.0.1\n';
    const error: BatchError = await ipvs.restore(text).then(
      () => expect.unreachable(),
      reason => reason,
    );
    expect(error).toBeInstanceOf(BatchError);
    expect(error).toMatchObject({ code: 'EEXIST', outcome: 'none', applied: [] });
    expect(error.failures).toMatchObject([{ index: 1, line: 3 }]);
    expect(error.message).toContain('line 3: EEXIST');
    expect(await ipvs.save()).toBe(there);

    const result = await ipvs.restore(text, { onError: 'collect', rollback: false });
    expect(result).toMatchObject({ outcome: 'partial', applied: [0, 2] });
    expect(result.failures.map(({ line }: RuleFailure) => line)).toEqual([3]);
    expect(await ipvs.save()).toBe('-A -t 10.0.0.1:80 -s rr\n-A -t 10.0.0.2:80 -s rr\n');
  });

  it('starts and stops sync daemons after all other lines', async () => {
    const result = await ipvs.restore(
      '--start-daemon backup --mcast-interface lo --syncid 7\n-A -t 10.0.0.1:80 -s rr\n--stop-daemon master',
      { onError: 'collect', rollback: false },
    );
    expect(result).toMatchObject({ outcome: 'partial', applied: [0, 1], failures: [{ code: 'ESRCH', line: 3 }] });
    expect(await ipvs.syncDaemons()).toMatchObject([{ state: 'backup', interface: 'lo', syncId: 7 }]);
    await ipvs.restore('--stop-daemon backup');
    expect(await ipvs.syncDaemons()).toEqual([]);
  });

  it('reads the names that ipvsadm -S writes, and others where a resolver is given', async () => {
    const rules = [
      '-A -t 127.0.0.1:80 -s rr',
      '-a -t 127.0.0.1:80 -r 10.1.0.1:8080 -m -w 1',
      '-A -u 10.0.0.1:53 -s rr',
      '-A -t [::1]:443 -s rr',
      '',
    ].join('\n');
    ipvsadm(other, ['-R'], rules);
    const named = ipvsadm(other, ['-S']);
    for (const name of [':http', ':http-alt', ':domain', ':https']) expect(named).toContain(name);
    await ipvs.restore(named);
    expect(lines(await ipvs.save())).toEqual(lines(rules));
    const own = { host: (name: string) => (name === 'gate' ? '10.0.0.9' : undefined), port: () => 7 };
    await ipvs.restore('-A -t gate:http -s rr', { names: own, replace: true });
    expect(await ipvs.save()).toBe('-A -t 10.0.0.9:7 -s rr\n');
  });
});
