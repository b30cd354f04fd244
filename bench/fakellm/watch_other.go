//go:build !linux

package fakellm

import (
	"sync"
	"syscall"
	"time"
)

// watcher notices peers that hang up, by peeking at the socket. Unlike epoll it does not see an end that lies behind unread bytes.
type watcher struct{}

// watch is one connection being looked at.
type watch struct {
	gone chan struct{} // closed when the peer hung up or reset
	at   time.Time     // when that was noticed; read after gone is closed
	c    *conn
	done sync.WaitGroup
}

func newWatcher() (*watcher, error) { return &watcher{}, nil }

func (w *watcher) close() error { return nil }

// add begins to look at c; drop must follow before c is read again.
func (w *watcher) add(c *conn) *watch {
	t := &watch{gone: make(chan struct{}), c: c}
	t.done.Go(t.peek)
	return t
}

func (w *watcher) drop(t *watch) {
	_ = t.c.SetReadDeadline(time.Unix(1, 0)) // wakes peek; fails only on a closed connection, which wakes it too
	t.done.Wait()
	_ = t.c.SetReadDeadline(time.Time{})
}

func (t *watch) peek() {
	raw, err := t.c.SyscallConn()
	if err != nil {
		return
	}
	var one [1]byte
	_ = raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
		if err == syscall.EAGAIN || err == syscall.EINTR || n > 0 {
			return false
		}
		t.at = time.Now()
		close(t.gone)
		return true
	})
}
