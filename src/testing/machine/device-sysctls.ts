import type { Namespace } from './state.ts';

/*
 * The settings of devices, net.ipv4.conf.* and net.ipv6.conf.* (Documentation/networking/ip-sysctl.rst). A device has the values of `default` until
 * somebody sets its own.
 */

/** Their values at first: those of `ipv4_devconf` and `ipv6_devconf` (net/ipv4/devinet.c, net/ipv6/addrconf.c). */
const AT_FIRST: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  ipv4: {
    accept_local: '0',
    accept_redirects: '1',
    accept_source_route: '0',
    arp_accept: '0',
    arp_announce: '0',
    arp_filter: '0',
    arp_ignore: '0',
    arp_notify: '0',
    forwarding: '0',
    log_martians: '0',
    promote_secondaries: '0',
    proxy_arp: '0',
    route_localnet: '0',
    rp_filter: '0',
    send_redirects: '1',
    src_valid_mark: '0',
  },
  ipv6: {
    accept_dad: '1',
    accept_ra: '1',
    accept_redirects: '1',
    autoconf: '1',
    disable_ipv6: '0',
    forwarding: '0',
    keep_addr_on_down: '0',
    ndisc_notify: '0',
    proxy_ndp: '0',
  },
};

/** The value of a device's setting that nobody has set; undefined if there is no such device or setting. */
export function deviceSysctl({ links, sysctls }: Namespace, name: string): string | undefined {
  const [, version = '', device, setting = ''] = /^net\/(ipv[46])\/conf\/([^/]+)\/(\w+)$/.exec(name) ?? [];
  const value = AT_FIRST[version]?.[setting];
  if (device === 'all' || device === 'default') return value;
  if (!links.some(link => link.name === device)) return undefined;
  return sysctls.get(`net/${version}/conf/default/${setting}`) ?? value;
}
