package loadtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client"
)

// perAddress is how many connections come from one source address: from about there on, the kernel searches for
// each port.
const perAddress = 1000

// network is how the hosts of a process get to the gateways.
type network struct {
	urls     []string
	tls      *tls.Config
	loopback bool // spread source addresses
	group    int  // hosts that share one

	mu   sync.Mutex              // guards the following
	ways map[[2]int]*client.Ways // by source address and first gateway
}

func newNetwork(urls []string, ca string, perHost int) (*network, error) {
	n := &network{urls: urls, group: perAddress / perHost, ways: map[[2]int]*client.Ways{}}
	if ca != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("the CA isn't PEM")
		}
		// No cache of sessions: each host would resume another's.
		n.tls = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	n.loopback = true
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("gateway %q: %w", text, err)
		}
		ip := net.ParseIP(u.Hostname())
		n.loopback = n.loopback && ip != nil && ip.To4() != nil && ip.IsLoopback()
	}
	return n, nil
}

// address is the number of a host's source address.
func (n *network) address(i int) int { return i / n.group }

// gateways gives all, each host beginning with another.
func (n *network) gateways(i int) []string {
	k := i % len(n.urls)
	return slices.Concat(n.urls[k:], n.urls[:k])
}

// network is a host's own.
func (n *network) network(i int) client.Network {
	c := client.Network{TLS: n.tls}
	if n.loopback {
		c.Proxy = "direct"
		a := n.address(i)
		d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(16+a>>8), byte(a), 1)}}
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return d.DialContext(ctx, network, addr)
		}
	}
	return c
}

// shared gives the ways that the hosts of one source address with the same first gateway have in common.
func (n *network) shared(i int) (*client.Ways, error) {
	key := [2]int{n.address(i), i % len(n.urls)}
	n.mu.Lock()
	defer n.mu.Unlock()
	if w := n.ways[key]; w != nil {
		return w, nil
	}
	w, err := client.NewWays(n.gateways(i), n.network(i))
	if err == nil {
		n.ways[key] = w
	}
	return w, err
}
