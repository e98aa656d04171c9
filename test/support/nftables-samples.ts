/*
 * Commands of our own in nft's language: between them they make every kind of object, and rules of nearly every statement and expression that
 * nft 1.0.6 knows.
 */

const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '');

const rules = (chain: string, text: string): string[] => linesOf(text).map(line => `add rule ${chain} ${line}`);

export const SAMPLES: Readonly<Record<string, readonly string[]>> = {
  'protocols and what they imply': [
    'add table inet t',
    'add chain inet t c { type filter hook input priority filter - 5; policy drop; }',
    ...rules(
      'inet t c',
      `ip saddr 192.0.2.0/24 tcp dport 22 counter accept
       ip6 saddr 2001:db8::/33 udp sport 1024-65535 accept
       meta nfproto ipv4 meta l4proto tcp drop
       ip protocol tcp tcp flags syn,ack / syn,rst tcp option maxseg size 500 counter
       meta l4proto { tcp, udp } th dport 53 accept
       icmp type echo-request icmp code 0 limit rate 5/second burst 7 packets accept
       icmpv6 type { nd-router-advert, nd-neighbor-solicit } ip6 hoplimit 255 accept
       icmpv6 type packet-too-big icmpv6 mtu 1280
       ip dscp af21 ip ecn ce
       ip6 dscp 0x3 ip6 flowlabel 22
       ip frag-off & 0x1fff != 0 drop
       tcp flags & (fin | syn | rst) == syn
       tcp flags { syn, fin } tcp window 0-100
       sctp chunk data tsn 23
       frag more-fragments 1
       rt type 0 drop
       ip option rr length 7
       tcp option timestamp exists
       dccp type request
       ah spi 100-200
       @th,16,16 0x35 @nh,8,8 & 0xf0 == 0x10
       ip saddr != 10.0.0.1-10.0.0.9 ip length > 1500
       reject
       meta l4proto tcp reject with tcp reset
       ip protocol udp reject with icmp host-unreachable
       reject with icmpx admin-prohibited`,
    ),
  ],
  'links, and what lies on them': [
    'add table bridge b',
    'add chain bridge b c { type filter hook forward priority 0; policy accept; }',
    ...rules(
      'bridge b c',
      `ether saddr 00:11:22:33:44:55 ether type ip ip daddr 10.1.1.1
       vlan id 100 vlan pcp 3 ip saddr 10.0.0.1
       arp operation request arp saddr ip 10.0.0.2
       meta ibrname "br0" pkttype broadcast
       ether type vlan ip6 nexthdr udp
       ip daddr 10.0.0.1 tcp dport 80
       reject with icmpx admin-prohibited`,
    ),
    'add table netdev n',
    'add chain netdev n c { type filter hook ingress device lo priority -500; policy accept; }',
    ...rules(
      'netdev n c',
      `ip saddr 10.0.0.0/8 meta mark set 0x1 fwd to lo
       ether daddr ff:ff:ff:ff:ff:ff meta protocol ip6 drop
       arp htype 1 dup to lo
       ip ttl set 5
       udp dport 53 meta pkttype multicast`,
    ),
    'add table arp a',
    'add chain arp a c { type filter hook input priority 0; }',
    ...rules(
      'arp a c',
      `arp operation { request, reply } arp daddr ip 10.0.0.0/24 drop
       arp plen 4 arp hlen 6 arp saddr ether 00:11:22:33:44:55 counter`,
    ),
  ],
  'keys of packets, routes and connections': [
    'add table ip t',
    'add ct helper ip t ftp { type "ftp" protocol tcp; }',
    'add ct timeout ip t slow { protocol tcp; policy = { established : 132, close : 13 }; }',
    'add ct expectation ip t later { protocol udp; dport 9876; timeout 2m; size 12; l3proto ip; }',
    'add chain ip t c { type filter hook output priority mangle; }',
    ...rules(
      'ip t c',
      `ct state { new, established } ct status snat,dnat counter
       ct state new,untracked ct mark & 0xff == 0x1 ct direction original
       ct original ip saddr 10.0.0.0/8
       ct bytes > 100000 ct packets 1-5 ct expiration 30s
       ct mark set meta mark
       ct zone set 5
       ct helper "ftp" ct state new
       ct helper set "ftp"
       ct timeout set "slow"
       ct expectation set "later"
       ct count over 20 drop
       meta mark set ct mark & 0xffff0000 | 0x1234
       meta mark set meta mark << 8
       meta priority set 0x10002
       iif "lo" oifname "eth*" iifname != { "a", "b" } meta iiftype loopback
       meta skuid 0-1000 meta skgid "root" meta cgroup 12 meta cpu 0
       meta day "Friday" meta hour "12:00"-"13:30" meta time "2030-01-02 03:04:05"
       rt nexthop 192.168.0.1
       rt classid 5
       rt mtu 500
       rt ipsec exists
       fib saddr . iif oif missing drop
       fib daddr type { local, broadcast } fib daddr oifname "lo"
       socket transparent 1 socket mark 0x3 socket wildcard 1
       ipsec in reqid 5 ipsec out spi 1-561
       osf ttl skip name "Linux"
       meta mark set numgen inc mod 3 offset 7
       meta mark set jhash ip saddr . ip daddr mod 16 seed 0xdeadbeef
       meta mark set symhash mod 2
       ip dscp set cs3
       tcp dport set 80 ip saddr set 10.0.0.1
       notrack
       log prefix "in: " level debug flags tcp sequence,options flags ip options
       log group 5 snaplen 128 queue-threshold 10 prefix "nf"
       limit rate over 10 mbytes/second burst 20 kbytes drop
       limit rate 400/minute
       quota over 100 mbytes drop
       queue flags fanout,bypass to 0-3
       queue to symhash mod 4
       dup to 10.0.0.3 device "lo"
       counter packets 5 bytes 500 meta nftrace set 1
       return comment "says why"`,
    ),
  ],
  'addresses translated, and verdicts': [
    'add table ip t',
    'add chain ip t other',
    'add chain ip t nat_in { type nat hook prerouting priority dstnat; }',
    'add chain ip t nat_out { type nat hook postrouting priority srcnat; }',
    'add chain ip t c { type filter hook forward priority 10; }',
    'add chain ip t proxy { type filter hook prerouting priority mangle; }',
    ...rules(
      'ip t nat_in',
      `tcp dport 80 dnat to 10.0.0.1:8080
       dnat to 10.0.0.1-10.0.0.9 random,persistent
       udp dport 53 redirect to :5353
       dnat ip addr . port to tcp dport map { 80 : 10.0.0.1 . 8080, 81 : 10.0.0.2 . 8081 }
       dnat ip prefix to ip daddr map { 10.0.0.0/24 : 192.168.0.0/24 }
       dnat to numgen inc mod 2 map { 0 : 10.1.0.1, 1 : 10.1.0.2 }
       tcp dport { 80, 443 } dnat to jhash ip saddr mod 2 map { 0 : 10.1.0.1, 1 : 10.1.0.2 }`,
    ),
    ...rules(
      'ip t nat_out',
      `snat to 192.0.2.1-192.0.2.4
       meta l4proto tcp masquerade to :1024-2048 fully-random
       snat to ip saddr map { 10.0.0.1 : 192.0.2.7 }`,
    ),
    ...rules(
      'ip t c',
      `jump other
       goto other
       meta l4proto tcp synproxy mss 1460 wscale 7 timestamp sack-perm
       ip protocol vmap { tcp : jump other, udp : drop, icmp : continue }
       ip saddr . tcp dport vmap { 10.0.0.1 . 80 : accept, 10.0.0.0/8 . 1-10 : drop }
       jump { ip saddr 10.0.0.1 accept; drop; }`,
    ),
    ...rules(
      'ip t proxy',
      `meta l4proto tcp tproxy to :50080 accept
       meta l4proto udp tproxy to 127.0.0.1:53`,
    ),
  ],
  'sets, maps and objects': [
    'add table inet t { comment "all kinds"; }',
    'add chain inet t other',
    'add counter inet t hits { comment "of all"; packets 3 bytes 100; }',
    'add quota inet t cap { over 25 mbytes used 1 kbytes; }',
    'add limit inet t slow { rate 5/hour burst 3 packets; }',
    'add synproxy inet t sp { mss 1460; wscale 5; timestamp; }',
    'add set inet t one { type ipv4_addr; comment "plain"; elements = { 10.0.0.3, 10.0.0.1 comment "first", 10.0.0.2 }; }',
    'add set inet t ranges { type inet_service; flags interval; auto-merge; elements = { 1-5, 80, 1000-65535 }; }',
    'add set inet t nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.1.0-192.168.1.9, 224.0.0.0/4 }; }',
    'add set inet t six { type ipv6_addr; flags interval,timeout; timeout 1d2h; gc-interval 10m; }',
    'add set inet t few { type ipv4_addr . inet_service; flags interval; size 100; policy memory; elements = { 10.0.0.0/24 . 80, 10.0.1.1-10.0.1.7 . 1-10 }; }',
    'add set inet t by_type { typeof ip saddr . tcp dport; elements = { 1.2.3.4 . 5 }; }',
    'add set inet t of_vlan { typeof vlan id; elements = { 2, 3 }; }',
    'add set inet t marks { type mark; elements = { 1, 0x10 }; }',
    'add set inet t counting { type ipv4_addr; counter; elements = { 10.0.0.3 counter packets 4 bytes 40 }; }',
    'add set inet t names { type ifname; elements = { "eth0", "lo" }; }',
    'add set inet t states { type ct_state . icmp_type; elements = { new . echo-request }; }',
    'add set inet t seen { type ipv4_addr; size 65535; flags dynamic,timeout; timeout 30s; }',
    'add map inet t ports { type ipv4_addr : inet_service; elements = { 10.0.0.1 : 80, 10.0.0.2 : 8080 }; }',
    'add map inet t both { type inet_service : ipv4_addr . inet_service; elements = { 80 : 10.0.0.1 . 8080 }; }',
    'add map inet t spans { type ipv4_addr : interval ipv4_addr; flags interval; elements = { 10.0.0.0/24 : 10.1.0.0/24 }; }',
    'add map inet t verdicts { type inet_service : verdict; flags interval; elements = { 1-10 : drop, 22 : jump other, * : accept }; }',
    'add map inet t counted { type ipv4_addr : counter; elements = { 10.0.0.1 : "hits" }; }',
    'add chain inet t c { type filter hook input priority raw; policy accept; }',
    ...rules(
      'inet t c',
      `ip saddr @one ip daddr != @nets tcp dport @ranges
       ip saddr . tcp dport @few ip saddr . tcp dport @by_type
       tcp dport vmap @verdicts
       tcp dport { 22, 80-90, 443 } ip saddr { 10.0.0.0/8, 172.16.0.0/12 } accept
       iifname . ip saddr { "lo" . 127.0.0.1, "eth0" . 10.0.0.1 }
       counter name ip saddr map @counted
       counter name "hits" limit name "slow" quota name "cap"
       meta mark set tcp dport map { 1 : 0x11, 2-3 : 0x22 }
       add @seen { ip saddr }
       update @seen { ip saddr timeout 10s limit rate 1/second }
       delete @seen { ip daddr }
       tcp dport != { 1, 2, 3, 4, 5, 6, 7, 8 } drop`,
    ),
    'add flowtable inet t ft { hook ingress priority filter; devices = { lo }; }',
    'add rule inet t other meta l4proto tcp flow add @ft',
    'add table ip6 off { flags dormant; }',
    'add chain ip6 off c { type route hook output priority -150; }',
    'add rule ip6 off c ip6 daddr ::1 return',
  ],
};
