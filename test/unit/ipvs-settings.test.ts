import { IpvsSettings } from 'netsteer/ipvs';
import { describe, expect, it } from 'vitest';
import { NetNsError, UnsupportedError } from '../../src/errors.ts';
import type { NetNs } from '../../src/netns/index.ts';

/** A namespace with these sysctls. */
function settingsOf(sysctls: Record<string, string>, errors: Record<string, number> = {}) {
  let opened = 0;
  const check = (name: string) => {
    const errno = errors[name] ?? (name in sysctls ? undefined : -2);
    if (errno !== undefined) throw new NetNsError(`sysctl ${name}`, { errno, syscall: 'open' });
  };
  const netns = {
    sysctl: {
      get(name: string) {
        check(name);
        return sysctls[name];
      },
      set(name: string, value: string) {
        check(name);
        sysctls[name] = value;
      },
    },
    access: { files: { list: () => Object.keys(sysctls) } },
    close() {
      opened--;
    },
  } as unknown as NetNs;
  const settings = new IpvsSettings(() => {
    opened++;
    return netns;
  });
  return { settings, sysctls, stillOpen: () => opened };
}

describe('the settings of IPVS', () => {
  it('have types', () => {
    const { settings, stillOpen } = settingsOf({
      'net.ipv4.vs.conntrack': '1',
      'net.ipv4.vs.conn_reuse_mode': '1',
      'net.ipv4.vs.sync_threshold': '3\t50',
    });
    expect(settings.conntrack).toBe(true);
    expect(settings.conn_reuse_mode).toBe(1);
    expect(settings.get('sync_threshold')).toBe('3 50');
    expect(stillOpen()).toBe(0);
  });

  it('are written as the kernel reads them', () => {
    const { settings, sysctls } = settingsOf({
      'net.ipv4.vs.conntrack': '0',
      'net.ipv4.vs.drop_entry': '0',
      'net.ipv4.vs.sync_threshold': '3\t50',
    });
    settings.conntrack = true;
    settings.set('drop_entry', 3);
    settings.sync_threshold = '2 10';
    expect(sysctls).toEqual({
      'net.ipv4.vs.conntrack': '1',
      'net.ipv4.vs.drop_entry': '3',
      'net.ipv4.vs.sync_threshold': '2 10',
    });
  });

  it('reject what the kernel would refuse or take differently', () => {
    const { settings, stillOpen } = settingsOf({});
    const bad: [string, unknown, typeof TypeError | typeof RangeError][] = [
      ['conntrack', 1, TypeError],
      ['drop_entry', true, TypeError],
      ['drop_entry', 4, RangeError],
      ['amemthresh', 1.5, RangeError],
      ['sync_threshold', '3', RangeError],
      ['est_cpulist', '0\n1', RangeError],
      ['nosuch', 1, RangeError],
    ];
    for (const [name, value, Class] of bad) expect(() => settings.set(name as never, value as never)).toThrow(Class);
    expect(() => settings.get('nosuch' as 'conntrack')).toThrow(RangeError);
    expect(stillOpen()).toBe(0);
  });

  it('name the kernel that has a missing one', () => {
    const { settings, stillOpen } = settingsOf({});
    try {
      settings.get('run_estimation');
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(UnsupportedError);
      expect(error).toMatchObject({ feature: 'net.ipv4.vs.run_estimation', minimumKernel: '5.16' });
    }
    expect(stillOpen()).toBe(0);
  });

  it('explain why one cannot be written', () => {
    const { settings } = settingsOf(
      {},
      { 'net.ipv4.vs.run_estimation': -13, 'net.ipv4.vs.conntrack': -13, 'net.ipv4.vs.sync_ports': -22 },
    );
    const set = (call: () => void) => {
      try {
        call();
      } catch (error) {
        return error as NetNsError;
      }
      throw new Error('this was not refused');
    };
    expect(set(() => settings.set('run_estimation', false)).hint).toContain('user namespace owns');
    expect(set(() => settings.set('conntrack', false))).toMatchObject({ code: 'EACCES' });
    expect(set(() => settings.set('sync_ports', 3))).toMatchObject({
      code: 'EINVAL',
      hint: 'the kernel takes 1 to 64',
    });
  });
});
