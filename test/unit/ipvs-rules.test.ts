import fs from 'node:fs';
import fc from 'fast-check';
import { parseRuleLines, parseRules, type RuleError } from 'netsteer/ipvs';
import { describe, expect, it } from 'vitest';
import { errorOf } from '../support/error-of.ts';

const one = (line: string) => {
  const [first, ...more] = parseRuleLines(line);
  expect(more).toEqual([]);
  return first;
};

const refused = (call: () => unknown) => errorOf(Error, call) as RuleError;
const web = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;

describe('parseRuleLines', () => {
  it.each<[string, object]>([
    ['-A -t 10.0.0.1:80 -s rr', { op: 'addService', service: { ...web, scheduler: 'rr' } }],
    ['-A -t 10.0.0.1:80', { op: 'addService', service: { ...web, scheduler: 'wlc' } }],
    ['-At 10.0.0.1:80 -srr', { op: 'addService', service: { ...web, scheduler: 'rr' } }],
    ['-A -t=10.0.0.1:80 -s=rr', { op: 'addService', service: { ...web, scheduler: 'rr' } }],
    [
      '--add-service --tcp-service=10.0.0.1:80 --scheduler rr --persistent=77',
      { op: 'addService', service: { ...web, scheduler: 'rr', persistence: { timeoutSeconds: 77 } } },
    ],
    [
      '-A -t 10.0.0.1:80 -p -s rr',
      { op: 'addService', service: { ...web, scheduler: 'rr', persistence: { timeoutSeconds: 360 } } },
    ],
    [
      '-A -t 10.0.0.1:80 -p600 -M 24',
      {
        op: 'addService',
        service: { ...web, scheduler: 'wlc', persistence: { timeoutSeconds: 600, netmask: '255.255.255.0' } },
      },
    ],
    [
      '-A -t 10.0.0.1 -p 5 -M 255.255.255.255',
      { op: 'addService', service: { ...web, port: 0, scheduler: 'wlc', persistence: { timeoutSeconds: 5 } } },
    ],
    [
      '-A -M 64 -p 30 -t [2001:DB8:0::1]:80',
      {
        op: 'addService',
        service: {
          ...web,
          address: '2001:db8::1',
          scheduler: 'wlc',
          persistence: { timeoutSeconds: 30, netmask: 64 },
        },
      },
    ],
    [
      '-A -t 2001:db8::1 -p 4',
      {
        op: 'addService',
        service: { ...web, address: '2001:db8::1', port: 0, scheduler: 'wlc', persistence: { timeoutSeconds: 4 } },
      },
    ],
    [
      '-E --udp-service 10.0.0.1:53 --ops --sched-flags mh-port,mh-fallback -s mh --pe sip --persistent 60',
      {
        op: 'editService',
        key: { protocol: 'udp', address: '10.0.0.1', port: 53 },
        patch: {
          scheduler: 'mh',
          schedulerFlags: ['mh-fallback', 'mh-port'],
          onePacket: true,
          persistence: { timeoutSeconds: 60, engine: 'sip' },
        },
      },
    ],
    [
      '-A --sctp-service 10.0.0.1:9999 -s fo',
      { op: 'addService', service: { protocol: 'sctp', address: '10.0.0.1', port: 9999, scheduler: 'fo' } },
    ],
    ['-A -f 7 -6 -s rr', { op: 'addService', service: { firewallMark: 7, family: 'ipv6', scheduler: 'rr' } }],
    ['-D --fwmark-service 4294967295', { op: 'removeService', key: { firewallMark: 4294967295, family: 'ipv4' } }],
    ['-C', { op: 'flush' }],
    ['-Z', { op: 'zero' }],
    ['-Z -t 10.0.0.1:80', { op: 'zero', key: web }],
    ['--set 900 0 300', { op: 'setTimeouts', timeouts: { tcpSeconds: 900, udpSeconds: 300 } }],
    [
      '-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 5 -x 100 -y 50',
      {
        op: 'addDestination',
        key: web,
        destination: {
          address: '10.1.0.1',
          port: 8080,
          forward: 'masquerade',
          weight: 5,
          upperThreshold: 100,
          lowerThreshold: 50,
        },
      },
    ],
    [
      '-a -t 10.0.0.1:80 -r 10.1.0.1:8080',
      {
        op: 'addDestination',
        key: web,
        destination: { address: '10.1.0.1', port: 80, forward: 'direct', weight: 1 },
      },
    ],
    [
      '-e -t 10.0.0.1:80 --real-server 2001:db8::9 --ipip --weight 0 --u-threshold 0',
      {
        op: 'editDestination',
        key: web,
        destinationKey: { address: '2001:db8::9', port: 80 },
        patch: { forward: 'tunnel', weight: 0, upperThreshold: 0, lowerThreshold: 0, tunnel: { type: 'ipip' } },
      },
    ],
    [
      '-a -t 10.0.0.1:80 -r [2001:db8::9] -i --tun-type gue --tun-port 6080 --tun-remcsum',
      {
        op: 'addDestination',
        key: web,
        destination: {
          address: '2001:db8::9',
          port: 80,
          forward: 'tunnel',
          weight: 1,
          tunnel: { type: 'gue', port: 6080, checksum: 'remote' },
        },
      },
    ],
    [
      '-a -f 7 -r 10.1.0.1 -i --tun-type gre --tun-nocsum',
      {
        op: 'addDestination',
        key: { firewallMark: 7, family: 'ipv4' },
        destination: { address: '10.1.0.1', port: 0, forward: 'tunnel', weight: 1, tunnel: { type: 'gre' } },
      },
    ],
    [
      '-d -t 10.0.0.1:80 -r 10.1.0.1',
      { op: 'removeDestination', key: web, destinationKey: { address: '10.1.0.1', port: 80 } },
    ],
    [
      '--start-daemon master --mcast-interface eth1 --syncid 9 --sync-maxlen 1400 --mcast-group 224.0.0.99 --mcast-port 9000 --mcast-ttl 4',
      {
        op: 'startSync',
        daemon: {
          state: 'master',
          interface: 'eth1',
          syncId: 9,
          maxLength: 1400,
          group: '224.0.0.99',
          port: 9000,
          ttl: 4,
        },
      },
    ],
    ['--start-daemon=backup', { op: 'startSync', daemon: { state: 'backup', interface: 'eth0', syncId: 0 } }],
    ['--stop-daemon backup', { op: 'stopSync', state: 'backup' }],
    [
      `ipvsadm  -A	-t "10.0.0.1:80" -s 'r'r # and a comment`,
      { op: 'addService', service: { ...web, scheduler: 'rr' } },
    ],
  ])('reads %s', (line, expected) => {
    expect(one(line)).toEqual({ line: 1, operation: expected });
  });

  it('counts lines, and skips empty ones and comments', () => {
    const lines = parseRuleLines('# saved\r\n\n-C\n   \n-A -f 1 -s rr   # one\n');
    expect(lines.map(({ operation, line }) => [operation.op, line])).toEqual([
      ['flush', 3],
      ['addService', 5],
    ]);
  });

  it('asks the given function for names', () => {
    const names = { host: (name: string) => (name === 'web' ? '10.0.0.1' : undefined), port: () => 80 };
    expect(parseRuleLines('-A -t web:http -s rr', names)).toMatchObject([{ operation: { service: web } }]);
    expect(refused(() => parseRuleLines('-A -t www:http -s rr', names)).message).toContain('a numeric address');
    expect(refused(() => parseRuleLines('-A -t www:http -s rr')).message).toContain('a numeric address');
  });

  it('reads the usual names of ports in every option, and rejects others with the line', () => {
    const text = [
      '-A -t localhost:http -s rr',
      '-a -t localhost:http -r 10.1.0.1:http-alt -m -w 1',
      '-A -u 10.0.0.1:domain -s rr',
      '-A -t [2001:db8::1]:https -s rr',
      '-A --sctp-service 10.0.0.1:ftp -s rr',
      '-A -t 10.0.0.1:www -s rr',
      '-A -t 10.0.0.1:acr-nema -s rr',
      '-A -t 10.0.0.1:dicom -s rr',
      '',
    ].join('\n');
    const servers = parseRules(text);
    expect(servers.map(server => 'port' in server && `${server.address} ${server.port}`)).toEqual([
      '127.0.0.1 80',
      '10.0.0.1 53',
      '2001:db8::1 443',
      '10.0.0.1 21',
      '10.0.0.1 80',
      '10.0.0.1 104',
      '10.0.0.1 11112',
    ]);
    expect(servers[0]?.destinations).toMatchObject([{ address: '10.1.0.1', port: 8080 }]);
    const error = refused(() => parseRuleLines('-C\n-A -t 10.0.0.1:nosuch -s rr'));
    expect(error).toMatchObject({ line: 2, attribute: 'line 2.-t' });
    expect(error.message).toContain('a port as a number, or the usual name of one');
    // A caller's names come first.
    const names = { port: (name: string) => (name === 'http' ? 8000 : undefined) };
    expect(parseRules('-A -t 10.0.0.1:http -s rr\n-A -t 10.0.0.1:https -s rr', names)).toMatchObject([
      { port: 8000 },
      { port: 443 },
    ]);
    expect(refused(() => parseRuleLines('-A -t 10.0.0.1:toString -s rr')).line).toBe(1);
    expect(refused(() => parseRuleLines('-A -t constructor:80 -s rr')).line).toBe(1);
  });

  it('knows every name that this system has for ports of TCP and UDP', () => {
    const entries = fs
      .readFileSync('/etc/services', 'utf8')
      .split('\n')
      .map(line => line.replace(/#.*/, '').trim().split(/\s+/))
      .filter(([, number = '']) => /^\d+\/(tcp|udp)$/.test(number));
    expect(entries.length).toBeGreaterThan(100);
    const named = new Map(entries.toReversed().map(([name, number]) => [name!, Number.parseInt(number!, 10)]));
    const wrong = [...named].filter(([name, port]) => {
      const [server] = parseRules(`-A -t 10.0.0.1:${name} -s rr`);
      return !(server !== undefined && 'port' in server && server.port === port);
    });
    expect(wrong).toEqual([]);
  });

  it.each([
    ['-A -s rr', 'one of -t, -u, --sctp-service and -f'],
    ['-A -t 10.0.0.1:80 -u 10.0.0.1:80', 'one of -t, -u, --sctp-service and -f'],
    ['-t 10.0.0.1:80 -A', 'a command such as -A before all other options'],
    ['10.0.0.1:80', 'a command such as -A'],
    ['-A -t 10.0.0.1:80 rr', 'only options'],
    ['-A -t 10.0.0.1:80 -s rr -s wrr', '-s: expected this option once'],
    ['-A -D -t 10.0.0.1:80', '-D: expected no such option with -A'],
    ['-A -t 10.0.0.1:80 -n', 'an option that ipvsadm -R takes'],
    ['-L', 'an option that ipvsadm -R takes'],
    ['--list', 'an option that ipvsadm -R takes'],
    ['-A -t', '-t: expected an argument'],
    ['-A -t 300.0.0.1:80', '-t: expected a numeric address'],
    ['-A -t [10.0.0.1]:80', '-t: expected a numeric address'],
    ['-A -t 10.0.0.1:65536', '-t: expected an integer 0 to 65535'],
    ['-A -t 10.0.0.1:', '-t: expected a port as a number'],
    ['-A -t 10.0.0.1', 'port: expected a port'],
    ['-A -t 10.0.0.1:80 -s nosuch', 'scheduler: expected one of'],
    ['-A -t 10.0.0.1:80 -o', 'onePacket: expected'],
    ['-A -t 10.0.0.1:80 -p 0', '-p: expected an integer 1 to 2678400'],
    ['-A -t 10.0.0.1:80 -p 5 -M 255.0.256.0', '-M: expected an IPv4 mask'],
    ['-A -t 10.0.0.1:80 -p 5 -M 33', '-M: expected an integer 0 to 32'],
    ['-A -t 0.0.0.0:80', 'address: expected an address that packets are sent to'],
    ['-A -t [ff02::1]:80 -s rr', 'address: expected an address that packets are sent to'],
    ['-A -t 10.0.0.1:80 -b 0x40', 'schedulerFlags[0]: expected'],
    ['-A -t 10.0.0.1:80 -b 0x1 --as-is', 'schedulerFlags[0]: expected'],
    ['-A --protocol-service 10.0.0.1:80', '--protocol-service: expected'],
    ['-a -t 10.0.0.1:80 -r 10.1.0.1 -g --forward local', '--forward: expected none of -g'],
    ['-a -t 10.0.0.1:80 -r 10.1.0.1 --forward 8', '--forward: expected an integer 0 to 7'],
    ['-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-flags 1', '--tun-flags: expected --as-is with it'],
    ['-C --as-is', '--as-is: expected no such option with -C'],
    ['-A -t [::1]:80 -p 5 -M 129', '-M: expected an integer 1 to 128'],
    ['-A -t 10.0.0.1:80 --pe sip', '--pe: expected persistence (-p) with it'],
    ['-A -t 10.0.0.1:80 -s rr -b sh-port', 'schedulerFlags[0]: expected a flag of the scheduler rr'],
    ['-A -t 10.0.0.1:80 -b flag-4', '-b: expected one of'],
    ['-A -f 0', '-f: expected an integer 1 to 4294967295'],
    ['-A -f 0x10', '-f: expected an integer'],
    ['-A -6 -t 10.0.0.1:80', '-6: expected a firewall mark'],
    ['-A -t 10.0.0.1:80 -w 1', '-w: expected no such option with -A'],
    ['-a -t 10.0.0.1:80', 'a server (-r)'],
    ['-a -t 10.0.0.1:80 -r 10.1.0.1 -m -g', 'one of -g, -i and -m'],
    ['-a -t 10.0.0.1:80 -r 10.1.0.1 -m -w -1', '-w: expected an integer 0 to'],
    ['-a -t 10.0.0.1:80 -r 10.1.0.1 -m -x 1 -y 2', 'lowerThreshold: expected'],
    ['-a -t 10.0.0.1:80 -r 2001:db8::9 -m', 'address: expected'],
    ['-a -t 10.0.0.1:80 -r 10.1.0.1 --tun-type gue --tun-port 1', '--tun-type: expected a tunnel (-i)'],
    ['-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type vxlan', '--tun-type: expected one of ipip, gue, gre'],
    ['-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gue', '--tun-port: expected a port for gue'],
    ['-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-port 5', '--tun-port: expected no port for ipip'],
    ['-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-csum', '--tun-csum: expected no such option with --tun-type ipip'],
    ['-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gre --tun-remcsum', '--tun-remcsum: expected no such option'],
    ['--set 1 2', '--set: expected three timeouts'],
    ['--start-daemon both', '--start-daemon: expected one of master, backup'],
    ['--start-daemon master --mcast-group 10.0.0.1', 'group: expected a multicast address'],
    ['-C -t 10.0.0.1:80', '-t: expected no such option with -C'],
    ['-A -t "10.0.0.1:80', 'a closing "'],
    ['-C \\', 'a character behind the backslash'],
    ['-C=5', 'an option that ipvsadm -R takes'],
    ['--clear=5', '-C: expected no argument'],
  ])('rejects %s with the line', (line, message) => {
    const error = refused(() => parseRuleLines(`# first\n${line}\n-C`));
    expect(error).toBeInstanceOf(RangeError);
    expect(error).toMatchObject({ line: 2, text: line });
    expect(error.message).toMatch(/^line 2: /);
    expect(error.message).toContain(message);
    expect(error.path[0]).toBe('line 2');
  });

  it('survives any text', () => {
    const words = [
      '-A',
      '-a',
      '-t',
      '10.0.0.1:80',
      '-p',
      '-M',
      '[',
      ']:1',
      '::',
      '-s',
      'rr',
      '-',
      '--',
      '=',
      '"',
      "'",
      '\\',
      '#',
      '\n',
      ' ',
    ];
    const text = fc.oneof(
      fc.string(),
      fc.array(fc.constantFrom(...words)).map(parts => parts.join(' ')),
    );
    fc.assert(
      fc.property(text, input => {
        try {
          parseRules(input);
        } catch (error) {
          expect(error).toHaveProperty('line');
        }
      }),
    );
    expect(() => parseRuleLines(5 as unknown as string)).toThrow(TypeError);
  });
});

describe('parseRules', () => {
  it('applies the lines to an empty table', () => {
    const text = `
      -A -t 10.0.0.9:80 -s rr
      -C
      -A -t 10.0.0.1:80 -s rr
      -a -t 10.0.0.1:80 -r 10.1.0.1 -m
      -a -t 10.0.0.1:80 -r 10.1.0.2 -m
      -A -f 3 -s rr
      -D -f 3
      -E -t 10.0.0.1:80 -s wrr
      -e -t 10.0.0.1:80 -r 10.1.0.1 -m -w 7
      -d -t 10.0.0.1:80 -r 10.1.0.2
      -Z -t 10.0.0.1:80
      --set 1 2 3`;
    expect(parseRules(text)).toEqual([
      {
        ...web,
        scheduler: 'wrr',
        destinations: [{ address: '10.1.0.1', port: 80, forward: 'masquerade', weight: 7 }],
      },
    ]);
  });

  it.each([
    ['-A -f 1\n-A -f 1', 'a service that is not there yet'],
    ['-C\n-D -f 1', 'a service that a line before adds, got "mark 1"'],
    ['-A -f 1 -6\n-a -f 1 -r 10.0.0.1', 'a service that a line before adds'],
    ['-A -f 1\n-d -f 1 -r 10.0.0.1', '-r: expected a server that a line before adds'],
  ])('rejects lines that cannot be applied: %j', (text, message) => {
    const error = refused(() => parseRules(text));
    expect(error.line).toBe(2);
    expect(error.message).toContain(message);
  });
});
