package client

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// nginx starts nginx before a gateway, with lines for its location.
func nginx(t *testing.T, gatewayPort, lines string) (url string) {
	t.Helper()
	bin := need(t, "/usr/sbin/nginx", "/usr/local/nginx/sbin/nginx")
	dir, port := openDir(t), freePort(t)
	write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	server {
		listen 127.0.0.1:%[2]s;
		location / {
			proxy_pass http://127.0.0.1:%[3]s;
			%[4]s
		}
	}
}
`, dir, port, gatewayPort, lines))
	program(t, dir, port, bin, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
	return "http://127.0.0.1:" + port
}

const forwardUpgrade = `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";`

func TestNginxStripsUpgrades(t *testing.T) {
	g := newGate(t)
	url := nginx(t, serve(t, g, nil), "")
	start := time.Now()
	r := link(t, g, url, nil)
	r.works(Poll)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("the job took %v", d)
	}
	polls := 0
	for _, q := range g.asked() {
		if strings.HasPrefix(q, "GET /v1/agent/socket") {
			polls++
		}
	}
	if polls != 1 {
		t.Errorf("%d upgrades were tried", polls)
	}
}

func TestNginxForwardsUpgrades(t *testing.T) {
	g := newGate(t)
	r := link(t, g, nginx(t, serve(t, g, nil), forwardUpgrade), nil)
	r.works(Socket)
}

func TestNginxCutsIdleSockets(t *testing.T) {
	g := newGate(t)
	url := nginx(t, serve(t, g, nil), forwardUpgrade+"proxy_read_timeout 1s;")
	g.retry = "0"
	r := link(t, g, url, func(c *Config) { c.Timing.Wait = 500 * time.Millisecond })
	r.until("the poll", func(s Status) bool { return s.Up && s.Transport == Poll })
	g.submit(jobA)
	g.waitFinished(jobA)
	n := 0
	for _, q := range g.asked() {
		if strings.HasPrefix(q, "GET /v1/agent/socket") {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d sockets were cut before", n)
	}
}
