package counter_test

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// startRedis starts a server in a directory of its own and returns its address.
func startRedis(t testing.TB, args ...string) string {
	t.Helper()
	return redisAt(t, t.TempDir(), freePort(t), args...)
}

func redisAt(t testing.TB, dir string, port int, args ...string) string {
	t.Helper()
	addr := "127.0.0.1:" + strconv.Itoa(port)
	stopRedis := runRedis(t, dir, port, args...)
	t.Cleanup(stopRedis)
	return addr
}

// runRedis starts a server and returns what ends it.
func runRedis(t testing.TB, dir string, port int, args ...string) (stop func()) {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	all := append([]string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no",
		"--logfile", filepath.Join(dir, "log")}, args...)
	cmd := exec.Command(bin, all...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	awaitRedis(t, "127.0.0.1:"+strconv.Itoa(port))
	return stop
}

func awaitRedis(t testing.TB, addr string) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	await(t, "the Redis at "+addr+" answers", func() bool { return client.Ping(context.Background()).Err() == nil })
}

// startCluster starts three nodes that share the slots, and returns their addresses.
func startCluster(t testing.TB) string {
	t.Helper()
	bin, err := exec.LookPath("redis-cli")
	if err != nil {
		t.Skip("redis-cli is not installed")
	}
	var nodes []string
	for range 3 {
		port := freePort(t)
		for port > 55535 { // the bus is 10000 above
			port = freePort(t)
		}
		nodes = append(nodes, redisAt(t, t.TempDir(), port, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"))
	}
	out, err := exec.Command(bin, append(append([]string{"--cluster", "create"}, nodes...), "--cluster-yes")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, node := range nodes {
		client := redis.NewClient(&redis.Options{Addr: node})
		await(t, "the cluster at "+node+" is ready", func() bool {
			s, _ := client.ClusterInfo(context.Background()).Result()
			return strings.Contains(s, "cluster_state:ok")
		})
		client.Close()
	}
	return strings.Join(nodes, ",")
}

// freePort is one below those that systems hand out, so that nobody is given it meanwhile.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 10000 + int(time.Now().UnixNano()/1000%12000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		bus, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+10000))
		if err != nil {
			continue
		}
		bus.Close()
		return port
	}
	t.Fatal("no free port")
	return 0
}
