package stand

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// readMetrics reads what a gateway says of its process at /metrics.
func readMetrics(ctx context.Context, client *http.Client, url string) (reading, error) {
	var b bytes.Buffer
	if err := get(ctx, client, strings.TrimRight(url, "/")+"/metrics", &b); err != nil {
		return reading{}, err
	}
	m := parseMetrics(b.String())
	if _, ok := m["process_resident_memory_bytes"]; !ok {
		return reading{}, fmt.Errorf("%s/metrics says nothing of the process", url)
	}
	r := reading{
		// Prometheus doesn't tell user from system.
		user: seconds(m["process_cpu_seconds_total"]), start: uint64(m["process_start_time_seconds"] * 100),
		rss: int64(m["process_resident_memory_bytes"]), threads: int(m["go_threads"]), descriptors: int(m["process_open_fds"]),
		more: map[string]float64{},
	}
	for name, metric := range map[string]string{
		"goroutines": "go_goroutines", "heap_bytes": "go_memstats_heap_inuse_bytes",
		"heap_alloc_bytes": "go_memstats_heap_alloc_bytes", "stack_bytes": "go_memstats_stack_inuse_bytes",
	} {
		if v, ok := m[metric]; ok {
			r.more[name] = v
		}
	}
	return r, nil
}

// parseMetrics reads the samples without labels of Prometheus' text format.
func parseMetrics(text string) map[string]float64 {
	m := map[string]float64{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") || strings.Contains(line, "{") {
			continue
		}
		if f := strings.Fields(line); len(f) >= 2 {
			if v, err := strconv.ParseFloat(f[1], 64); err == nil {
				m[f[0]] = v
			}
		}
	}
	return m
}

// readRedis reads what a Redis says of itself.
func readRedis(ctx context.Context, addr, password string) (reading, error) {
	c, err := dialRedis(ctx, addr, password)
	if err != nil {
		return reading{}, err
	}
	defer c.Close()
	info, err := c.info()
	if err != nil {
		return reading{}, err
	}
	number := func(name string) float64 {
		v, err := strconv.ParseFloat(info[name], 64)
		if err != nil {
			return 0 // a field that this server doesn't have
		}
		return v
	}
	r := reading{
		user:   seconds(number("used_cpu_user") + number("used_cpu_user_children")),
		system: seconds(number("used_cpu_sys") + number("used_cpu_sys_children")),
		rss:    int64(number("used_memory_rss")), descriptors: int(number("connected_clients")), more: map[string]float64{},
	}
	if id := info["run_id"]; len(id) >= 15 {
		r.start, _ = strconv.ParseUint(id[:15], 16, 64) // another run, another number
	}
	for name, field := range map[string]string{
		"redis_used_bytes": "used_memory", "redis_dataset_bytes": "used_memory_dataset", "redis_commands": "total_commands_processed",
		"redis_aof_bytes": "aof_current_size", "redis_aof_delayed_fsync": "aof_delayed_fsync", "redis_clients": "connected_clients",
	} {
		if _, ok := info[field]; ok {
			r.more[name] = number(field)
		}
	}
	return r, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
