package stand

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// portTries bounds how often another port is tried after one was taken.
const portTries = 20

var redisReady = regexp.MustCompile(`Ready to accept connections`)

// startRedis starts a redis-server and waits until it serves. Nothing but the server itself can
// take a port for it, so a port is guessed, and another one if it was taken meanwhile.
func (s *Stand) startRedis(ctx context.Context) error {
	dir := filepath.Join(s.Dir, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var err error
	for range portTries {
		var port int
		if port, err = freePort(); err != nil {
			return err
		}
		if err = s.tryRedis(ctx, dir, port); err == nil || !portTaken(err) {
			return err
		}
	}
	return fmt.Errorf("no free port in %d tries: %w", portTries, err)
}

func (s *Stand) tryRedis(ctx context.Context, dir string, port int) error {
	args := []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--daemonize", "no", "--save", "",
		"--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction", "--maxclients", "1000"}
	c, err := startChild("redis-server", s.config.RedisServer, append(args, s.config.RedisArgs...)...)
	if err != nil {
		return err
	}
	if _, err := c.await(ctx, redisReady); err != nil {
		if c.running() {
			s.redis = c // Close ends it
		}
		return err
	}
	s.redis, s.Redis = c, net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	s.watch(c)
	return nil
}

// portTaken tells whether a server ended since its port was in use.
func portTaken(err error) bool {
	return strings.Contains(err.Error(), "Address already in use") || strings.Contains(err.Error(), "Failed listening on port")
}

// freePort gives a port that is free at this moment.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// describeRedis asks a server for its version and for what decides on durability.
func describeRedis(ctx context.Context, addr string) (version string, settings []string, err error) {
	c, err := dialRedis(ctx, addr, "")
	if err != nil {
		return "", nil, err
	}
	defer c.Close()
	info, err := c.info("server")
	if err != nil {
		return "", nil, err
	}
	for _, name := range []string{"appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy", "io-threads"} {
		reply, err := c.do("CONFIG", "GET", name)
		if err != nil {
			return "", nil, err
		}
		if pair, ok := reply.([]any); ok && len(pair) == 2 {
			settings = append(settings, fmt.Sprintf("%s=%s", name, pair[1]))
		}
	}
	if version = info["valkey_version"]; version == "" {
		version = info["redis_version"]
	}
	return version, settings, nil
}
