package fakellm

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// watcher notices peers that hang up while nothing is being read from or written to them. One epoll set serves all connections; it
// is itself waited for by the runtime's poller, so no thread blocks.
type watcher struct {
	set  *os.File
	done chan struct{}

	mu   sync.Mutex
	last int32
	on   map[int32]*watch
}

// watch is one connection being looked at.
type watch struct {
	gone chan struct{} // closed when the peer hung up or reset
	at   time.Time     // when that was noticed; read after gone is closed
	key  int32
	c    *conn
}

const hungUp = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR | syscall.EPOLLONESHOT

func newWatcher() (*watcher, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	w := &watcher{set: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{}), on: map[int32]*watch{}}
	go w.run()
	return w, nil
}

func (w *watcher) close() error {
	err := w.set.Close()
	<-w.done
	return err
}

// add begins to look at c; drop must follow before c is closed by this side.
func (w *watcher) add(c *conn) *watch {
	t := &watch{gone: make(chan struct{}), c: c}
	w.mu.Lock()
	w.last++
	t.key = w.last
	w.on[t.key] = t
	w.mu.Unlock()
	if err := w.control(syscall.EPOLL_CTL_ADD, t); err != nil {
		w.report(t.key) // closed already
	}
	return t
}

func (w *watcher) drop(t *watch) {
	w.mu.Lock()
	delete(w.on, t.key)
	w.mu.Unlock()
	_ = w.control(syscall.EPOLL_CTL_DEL, t) // a closed descriptor has left the set by itself
}

func (w *watcher) control(op int, t *watch) error {
	raw, err := t.c.SyscallConn()
	if err != nil {
		return err
	}
	set, err := w.set.SyscallConn()
	if err != nil {
		return err
	}
	inner := set.Control(func(ep uintptr) {
		err = raw.Control(func(fd uintptr) {
			ev := syscall.EpollEvent{Events: hungUp, Fd: t.key}
			err = syscall.EpollCtl(int(ep), op, int(fd), &ev)
		})
	})
	if inner != nil {
		return inner
	}
	return err
}

func (w *watcher) report(key int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.on[key]; t != nil {
		t.at = time.Now()
		close(t.gone)
		delete(w.on, key)
	}
}

func (w *watcher) run() {
	defer close(w.done)
	raw, err := w.set.SyscallConn()
	if err != nil {
		panic("BUG: fakellm: epoll file without a descriptor: " + err.Error())
	}
	events := make([]syscall.EpollEvent, 64)
	_ = raw.Read(func(fd uintptr) bool { // ends when the set is closed
		for {
			n, err := syscall.EpollWait(int(fd), events, 0)
			if n <= 0 && err != syscall.EINTR {
				return false
			}
			for _, ev := range events[:max(n, 0)] {
				w.report(ev.Fd)
			}
		}
	})
}
