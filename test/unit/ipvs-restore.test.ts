import { describe, expect, test } from 'vitest';
import { BatchError } from '../../src/errors.ts';
import { formatRules, parseRules } from '../../src/ipvs/index.ts';
import * as C from '../../src/linux/ip_vs.ts';
import { errorOf } from '../support/error-of.ts';
import { openIpvs } from '../support/memory-ipvs.ts';

const THERE = [
  '-A -t 10.0.0.1:80 -s rr -p 60 -M 0.0.0.0',
  '-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1',
  '-A -u 10.0.0.1:53 -s sh -b sh-port',
  '',
].join('\n');
const NEW = ['-A -t 10.0.0.1:80 -s wlc', '-a -t 10.0.0.1:80 -r 10.1.0.2:80 -g -w 2', '-A -f 7 -s rr', ''].join('\n');
const sorted = (text: string) => text.split('\n').sort();

describe('a mask of persistence', () => {
  test.each(['0.0.0.0', '255.0.255.0', '0.0.0.24', '0.0.0.1', '255.255.255.254'])(
    'is accepted everywhere: %s',
    mask => {
      const { ipvs } = openIpvs();
      const key = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
      const service = { ...key, scheduler: 'rr', persistence: { timeoutSeconds: 60, netmask: mask } } as const;
      const text = `-A -t 10.0.0.1:80 -s rr -p 60 -M ${mask}\n`;
      ipvs.sync.addService(service);
      expect(ipvs.sync.service(key).persistence).toEqual(service.persistence);
      expect(ipvs.sync.save()).toBe(text);
      expect(ipvs.sync.plan([{ ...service, destinations: [] }])).toEqual([]);
      expect(parseRules(text)).toEqual([{ ...service, destinations: [] }]);
      expect(formatRules(parseRules(text))).toBe(text);
      ipvs.sync.restore(`-C\n${text}`);
      ipvs.sync.restore(`-E -t 10.0.0.1:80 -s wlc -p 60 -M ${mask}`);
      expect(ipvs.sync.service(key)).toMatchObject({ scheduler: 'wlc', persistence: service.persistence });
    },
  );

  test('of 0.0.0.0 is the prefix 0, as ipvsadm reads -M 0', () => {
    const [server] = parseRules('-A -t 10.0.0.1:80 -s rr -p 60 -M 0');
    expect(server?.persistence?.netmask).toBe('0.0.0.0');
    expect(formatRules([{ ...server!, persistence: { timeoutSeconds: 60, netmask: 0 } }])).toContain('-M 0.0.0.0');
  });
});

describe('a restore with replace', () => {
  test('makes the table of the text, whatever was there, and again the same', () => {
    const { ipvs, kernel } = openIpvs();
    ipvs.sync.restore(THERE);
    expect(errorOf(BatchError, () => ipvs.sync.restore(THERE))).toMatchObject({ outcome: 'none', rolledBack: true });
    for (const text of [NEW, NEW, THERE, THERE, '']) {
      const result = ipvs.sync.restore(text, { replace: true });
      expect(result).toMatchObject({ outcome: 'all', failures: [], rolledBack: false });
      expect(result.applied).toEqual(
        text
          .split('\n')
          .slice(0, -1)
          .map((_, i) => i),
      );
      expect(sorted(ipvs.sync.save())).toEqual(sorted(text));
    }
    expect(kernel.daemons).toEqual([]);
  });

  test('empties the table in the send that fills it', () => {
    const { ipvs, kernel } = openIpvs();
    ipvs.sync.restore(THERE);
    const { length } = kernel.sent;
    ipvs.sync.restore(NEW, { replace: true, rollback: false });
    expect(kernel.sent.length - length).toBe(1);
  });

  test('is undone when a line is rejected: the failure has its line, and the old state is back', () => {
    const { ipvs } = openIpvs();
    ipvs.sync.restore(THERE);
    const before = ipvs.sync.snapshot();
    const bad = `${NEW}\n-A -f 7 -s rr\n`;
    const error = errorOf(BatchError, () => ipvs.sync.restore(bad, { replace: true }));
    expect(error).toMatchObject({ code: 'EEXIST', outcome: 'none', applied: [], rolledBack: true });
    expect(error.failures).toMatchObject([{ index: 3, line: 5 }]);
    expect(error.message).toContain('line 5: EEXIST');
    expect(sorted(ipvs.sync.save())).toEqual(sorted(THERE));
    expect(ipvs.sync.plan(before.servers, { prune: true })).toEqual([]);
    const left = ipvs.sync.restore(bad, { replace: true, rollback: false, onError: 'collect' });
    expect(left).toMatchObject({ outcome: 'partial', applied: [0, 1, 2], rolledBack: false });
    expect(sorted(ipvs.sync.save())).toEqual(sorted(NEW));
  });

  test('sends nothing where a line is malformed, and edits what earlier lines have added', () => {
    const { ipvs, kernel } = openIpvs();
    ipvs.sync.restore(THERE);
    const { length } = kernel.sent;
    expect(() => ipvs.sync.restore('-A -t 10.0.0.1:80\n-A -t', { replace: true })).toThrow('line 2');
    expect(kernel.sent).toHaveLength(length);
    ipvs.sync.restore(`${NEW}-E -t 10.0.0.1:80 -s lc\n-e -t 10.0.0.1:80 -r 10.1.0.2 -g -w 9\n`, { replace: true });
    expect(ipvs.sync.save()).toContain('-a -t 10.0.0.1:80 -r 10.1.0.2:80 -g -w 9');
  });
});

test('replaces all settings by an edit, as ipvsadm does', () => {
  const { ipvs } = openIpvs();
  ipvs.sync.restore(
    [
      '-A -t 10.0.0.1:80 -s sh -b sh-port -p 60 -M 255.0.0.0 --pe sip',
      '-a -t 10.0.0.1:80 -r 10.1.0.1 -i -w 9 -x 9 -y 3 --tun-type gue --tun-port 6080 --tun-csum',
      '-E -t 10.0.0.1:80 -s mh -p 30',
      '-e -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gre',
    ].join('\n'),
  );
  expect(ipvs.sync.save()).toBe(
    '-A -t 10.0.0.1:80 -s mh -p 30\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -i -w 1 --tun-type gre --tun-nocsum\n',
  );
});

describe('a failing line about a sync daemon', () => {
  const daemon = (state: number, syncId: number) => {
    const settings = { maxLength: 1400, group: Uint8Array.of(224, 0, 0, 81), port: 8848, ttl: 1 };
    return { state, interface: 'lo', syncId, ...settings };
  };

  test('undoes the other lines, those about daemons included', () => {
    const { ipvs, kernel } = openIpvs();
    ipvs.sync.restore(THERE);
    // Others may have set a number that is refused here: it ran, and can run again.
    kernel.daemons.push(daemon(C.IP_VS_STATE_BACKUP, 300));
    const text = [
      '--stop-daemon backup',
      '-D -u 10.0.0.1:53',
      '-A -f 9 -s rr',
      '--start-daemon master --mcast-interface eth0 --syncid 7',
      '--start-daemon backup --mcast-interface nosuch0',
      '--set 1 2 3',
    ].join('\n');
    const error = errorOf(BatchError, () => ipvs.sync.restore(text));
    expect(error).toMatchObject({ code: 'ENODEV', outcome: 'none', applied: [], rolledBack: true });
    expect(error.failures).toMatchObject([{ index: 5, line: 5 }]);
    expect(sorted(ipvs.sync.save())).toEqual(sorted(THERE));
    expect(kernel.timeouts).toEqual({ tcp: 900, tcpFin: 120, udp: 300 });
    expect(kernel.daemons).toEqual([daemon(C.IP_VS_STATE_BACKUP, 300)]);
    const collected = ipvs.sync.restore(text, { onError: 'collect' });
    expect(collected).toMatchObject({ outcome: 'none', rolledBack: true, applied: [] });
    expect(sorted(ipvs.sync.save())).toEqual(sorted(THERE));
  });

  test('undoes the other lines, whatever other handles have sent meanwhile', () => {
    const { ipvs, kernel } = openIpvs();
    const added = (count: number, port: number) =>
      Array.from({ length: count }, (_, i) => `-A -t 10.0.${i}.1:${port} -s rr`).join('\n');
    const other = openIpvs();
    kernel.refuses = command => {
      if (command === C.IPVS_CMD_NEW_DAEMON) other.ipvs.sync.restore(added(40, 443));
      return undefined;
    };
    const text = `${added(40, 80)}\n--start-daemon master --mcast-interface nosuch0`;
    const error = errorOf(BatchError, () => ipvs.sync.restore(text));
    expect(error).toMatchObject({ code: 'ENODEV', outcome: 'none', rolledBack: true });
    expect(error.failures).toMatchObject([{ index: 40, line: 41 }]);
    expect(kernel.services).toEqual([]);
    expect(other.kernel.services).toHaveLength(40);
  });

  test('leaves the other lines with rollback: false', () => {
    const { ipvs, kernel } = openIpvs();
    const text =
      '--start-daemon backup --mcast-interface nosuch0\n-A -f 9 -s rr\n--start-daemon master --mcast-interface lo';
    const result = ipvs.sync.restore(text, { rollback: false, onError: 'collect' });
    expect(result).toMatchObject({ outcome: 'partial', rolledBack: false, applied: [0, 2], failures: [{ line: 1 }] });
    expect(kernel.daemons.map(({ state }) => state)).toEqual([C.IP_VS_STATE_MASTER]);
    expect(ipvs.sync.save()).toBe('-A -f 9 -s rr\n');
  });

  test('is reported as unknown where a daemon cannot be put back', () => {
    const { ipvs, kernel } = openIpvs();
    kernel.daemons.push(daemon(C.IP_VS_STATE_BACKUP, 3));
    kernel.refuses = command => (command === C.IPVS_CMD_NEW_DAEMON ? -12 : undefined);
    const text = '--stop-daemon backup\n-A -f 9 -s rr\n--start-daemon master --mcast-interface lo';
    const result = ipvs.sync.restore(text, { onError: 'collect' });
    expect(result).toMatchObject({ outcome: 'unknown', rolledBack: false, applied: [] });
    expect(kernel.services).toEqual([]);
  });

  test('undoes the other lines over socket options, which lack a group', () => {
    const { kernel, ipvs } = openIpvs('sockopt');
    const text = '-A -f 9 -s rr\n--start-daemon master --mcast-interface lo --mcast-group 224.0.0.9';
    const error = errorOf(BatchError, () => ipvs.sync.restore(text));
    expect(error).toMatchObject({ code: 'EOPNOTSUPP', outcome: 'none', rolledBack: true });
    expect(kernel.services).toEqual([]);
  });
});

test('is reported with the result of the rollback', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.restore(THERE);
  const batch = (rollback: boolean) =>
    errorOf(BatchError, () =>
      ipvs.sync.apply(
        [
          { op: 'addService', service: { firewallMark: 7, family: 'ipv4', scheduler: 'rr' } },
          { op: 'addService', service: { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'rr' } },
        ],
        { rollback },
      ),
    );
  expect(batch(true)).toMatchObject({ rolledBack: true, outcome: 'none' });
  expect(batch(false)).toMatchObject({ rolledBack: false, outcome: 'partial' });
  ipvs.sync.removeService({ firewallMark: 7, family: 'ipv4' });
  kernel.refuses = command => (command === C.IPVS_CMD_DEL_SERVICE ? -12 : undefined);
  expect(batch(true)).toMatchObject({ rolledBack: false, outcome: 'unknown' });
});
