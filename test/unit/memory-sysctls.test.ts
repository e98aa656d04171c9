import { expect, test } from 'vitest';
import { MemoryKernel } from '../../src/testing/index.ts';

test("a device of the kernel in memory has the settings of `default` until it has its own, and another device's are not its", () => {
  const web = MemoryKernel.create().container('web', { links: [{ name: 'eth0' }, { name: 'eth1' }] });
  const { sysctl } = web.netns;
  expect(sysctl.get('net.ipv4.conf.eth0.send_redirects')).toBe('1');
  sysctl.set('net.ipv4.conf.default.arp_ignore', 1);
  sysctl.set('net.ipv4.conf.eth1.arp_ignore', 2);
  expect(['all', 'default', 'eth0', 'eth1'].map(device => sysctl.get(`net.ipv4.conf.${device}.arp_ignore`))).toEqual([
    '0',
    '1',
    '1',
    '2',
  ]);
  expect(() => sysctl.get('net.ipv4.conf.eth2.arp_ignore')).toThrow('ENOENT');
  expect(() => sysctl.get('net.ipv6.conf.eth0.arp_ignore')).toThrow('ENOENT');
});
