package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"jarvis-gateway/bench/load"
)

const (
	upstreamKey = "sk-up"
	tenantKey   = "jv-bench-0123456789"
	limitedKey  = "jv-bench-limited-0123456789"
)

// The names of what is measured, in the order of a round.
var targetNames = []string{"direct", "bare", "gateway"}

// target is an address to send load to, and the process whose CPU that costs.
type target struct {
	name    string
	addr    string
	key     string
	process load.Process // 0: the provider itself, whose CPU is of no interest
	admin   string       // of the gateway
	rename  bool         // clients ask for a scenario's name; otherwise for the provider's model
}

// bench is the set of running processes. All of them listen on the loopback only.
type bench struct {
	options
	dir      string // binaries, configuration, logs; removed by stop
	upstream *child
	children []*child
	targets  []target
}

// start builds and starts everything.
func start(ctx context.Context, o options) (_ *bench, err error) {
	b := &bench{options: o}
	if b.dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if err = b.build(ctx); err != nil {
		return nil, err
	}
	if b.upstream, err = b.launch(ctx, "upstream", "-kind", "openai", "-api-key", upstreamKey); err != nil {
		return nil, err
	}
	for _, name := range targetNames {
		if !slices.Contains(o.only, name) {
			continue
		}
		t, err := b.open(ctx, name)
		if err != nil {
			return nil, err
		}
		b.targets = append(b.targets, t)
	}
	return b, nil
}

func (b *bench) build(ctx context.Context) error {
	packages := map[string]string{"upstream": b.provider, "bare": "./bench/bare", "gateway": "./cmd/jarvis-gateway"}
	for _, name := range []string{"upstream", "bare", "gateway"} {
		if name == "gateway" && (b.self || !slices.Contains(b.only, name)) {
			continue
		}
		progress("building %s", packages[name])
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(b.dir, name), packages[name])
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as what is released, see Makefile and Dockerfile
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("build %s: %w\n%s", packages[name], err, out)
		}
	}
	return nil
}

// open starts the process that a target needs. It may be called again for a fresh one.
func (b *bench) open(ctx context.Context, name string) (target, error) {
	t := target{name: name, key: upstreamKey, addr: b.upstream.addr}
	var c *child
	var err error
	switch {
	case name == "direct":
		return t, nil
	case name == "bare" || b.self:
		c, err = b.launch(ctx, "bare", "-upstream", b.upstream.addr)
	default:
		t.key, t.rename = tenantKey, true
		c, t.admin, err = b.launchGateway(ctx)
	}
	if err != nil {
		return t, err
	}
	t.addr, t.process = c.addr, load.Process(c.cmd.Process.Pid)
	return t, nil
}

func (b *bench) launchGateway(ctx context.Context) (c *child, admin string, err error) {
	addrs, err := freeAddrs(2)
	if err != nil {
		return nil, "", err
	}
	addr, admin := addrs[0], addrs[1]
	file := filepath.Join(b.dir, "jarvis-"+addr[strings.LastIndexByte(addr, ':')+1:]+".yml")
	if err = os.WriteFile(file, []byte(b.config(addr, admin)), 0o600); err != nil {
		return nil, "", err
	}
	c, err = b.exec(ctx, "gateway", addr, "serve", file)
	return c, admin, err
}

// config offers each scenario as a model, so that the gateway does its regular work of finding and renaming it.
func (b *bench) config(addr, admin string) string {
	var c strings.Builder
	fmt.Fprintf(&c, "server: {listen: %q, admin: %q}\n", addr, admin)
	fmt.Fprintf(&c, "providers: {openai: {kind: openai, base_url: %q, api_key: %s}}\n", "http://"+b.upstream.addr+"/v1", upstreamKey)
	c.WriteString("models:\n")
	for _, s := range scenarios {
		fmt.Fprintf(&c, "  %s: {targets: [{provider: openai, model: %q}]}\n", s.Name, s.Model)
	}
	fmt.Fprintf(&c, "tenants:\n  bench: {keys: [{name: k, key: %s}]}\n", tenantKey)
	fmt.Fprintf(&c, "  limited: {keys: [{name: k, key: %s}], limits: {requests: [1G/m, 1G/d], tokens: [1G/m, 1G/d], concurrency: 1000}}\n", limitedKey)
	return c.String()
}

// child is a started process.
type child struct {
	cmd  *exec.Cmd
	addr string
	log  string
	gone chan struct{} // closed when it has ended
}

// launch starts a program that takes -addr.
func (b *bench) launch(ctx context.Context, name string, args ...string) (*child, error) {
	addrs, err := freeAddrs(1)
	if err != nil {
		return nil, err
	}
	return b.exec(ctx, name, addrs[0], append([]string{"-addr", addrs[0]}, args...)...)
}

// exec starts a program in the temporary folder, where it may keep files, and waits until it listens.
func (b *bench) exec(ctx context.Context, name, addr string, args ...string) (*child, error) {
	logs, err := os.CreateTemp(b.dir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer logs.Close() // the child has its own descriptor
	c := &child{cmd: exec.Command(filepath.Join(b.dir, name), args...), addr: addr, log: logs.Name(), gone: make(chan struct{})}
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = b.dir, logs, logs
	c.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir} // no credentials, no GOGC of the caller's
	c.cmd.SysProcAttr = dieWithParent()
	if err = c.cmd.Start(); err != nil {
		return nil, err
	}
	b.children = append(b.children, c)
	go func() {
		_ = c.cmd.Wait() // its outcome is of interest only while starting, where the log says more
		close(c.gone)
	}()
	if err = c.ready(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, c.tail())
	}
	return c, nil
}

// ready waits until the process listens.
func (c *child) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		n, err := new(net.Dialer).DialContext(ctx, "tcp", c.addr)
		if err == nil {
			return n.Close()
		}
		select {
		case <-ctx.Done():
			return errors.New("does not listen")
		case <-c.gone:
			return errors.New("ended")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tail returns the end of what the process has written.
func (c *child) tail() string {
	b, _ := os.ReadFile(c.log)
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-10):], []byte("\n")))
}

// end asks the process to stop and does not take no for an answer.
func (c *child) end() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.gone:
	case <-time.After(2 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.gone
	}
}

// close ends the process of a target that open started.
func (b *bench) close(t target) {
	b.children = slices.DeleteFunc(b.children, func(c *child) bool {
		if c.addr != t.addr || c == b.upstream {
			return false
		}
		c.end()
		return true
	})
}

func (b *bench) stop() {
	for _, c := range slices.Backward(b.children) {
		c.end()
	}
	_ = os.RemoveAll(b.dir) // it is in the system's temporary folder anyway
}

// freeAddrs finds ports that are free now. Another process may take one before the child does; then the child says so.
func freeAddrs(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // at the end: all must be different
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
