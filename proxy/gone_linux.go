package proxy

import (
	"errors"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// watcher notices clients that leave, which fasthttp's server does not: one epoll set for all connections, told by the
// kernel when a peer closes or resets, whatever the connection's own goroutine is waiting for. A client that closes only
// its sending side counts as gone: no HTTP client does that and still waits.
type watcher struct {
	epoll int
	done  chan struct{}

	mu    sync.Mutex // taken when a connection comes or goes, not for requests
	conns map[int32]*conn
	turn  int32
}

// watch is a connection's place in the set.
type watch struct {
	fd, turn int32 // turn tells the connection from an earlier one of the same number
}

func newWatcher() (*watcher, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	w := &watcher{epoll: epoll, done: make(chan struct{}), conns: map[int32]*conn{}}
	go w.loop()
	return w, nil
}

func (w *watcher) add(c *conn) {
	c.watch.fd = -1
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return // not a socket; its departure shows when it is written to
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // fails only for a closed connection, which needs no watching
		w.mu.Lock()
		defer w.mu.Unlock()
		w.turn++
		c.watch = watch{fd: int32(fd), turn: w.turn}
		w.conns[c.watch.fd] = c
		ev := unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR | unix.EPOLLET, Fd: c.watch.fd, Pad: c.watch.turn}
		_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, int(fd), &ev)
	})
}

// remove must come before the connection is closed, when the kernel forgets it and may give its number to another.
func (w *watcher) remove(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns[c.watch.fd] == c {
		delete(w.conns, c.watch.fd)
	}
}

func (w *watcher) loop() {
	defer close(w.done)
	events := make([]unix.EpollEvent, 128)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return // closed
		}
		for _, ev := range events[:max(n, 0)] {
			if ev.Fd == wake {
				return
			}
			w.mu.Lock()
			c := w.conns[ev.Fd]
			w.mu.Unlock()
			if c != nil && c.watch.turn == ev.Pad {
				c.gone()
			}
		}
	}
}

// wake stands for the watcher's own pipe, which Close makes readable.
const wake = -2

// fireAll calls off every request under way.
func (w *watcher) fireAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.closing.Store(true)
		c.x.abort.Fire()
	}
}

// Close ends the watcher and waits for its goroutine.
func (w *watcher) Close() {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err == nil {
		_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, pipe[0], &unix.EpollEvent{Events: unix.EPOLLHUP, Fd: wake})
		_ = unix.Close(pipe[1])
		<-w.done
		_ = unix.Close(pipe[0])
	}
	_ = unix.Close(w.epoll)
}

// pending tells whether bytes wait to be read.
func (c *conn) pending() bool {
	tc, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return false
	}
	waiting := false
	_ = raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		waiting = err == nil && n > 0
	})
	return waiting
}
