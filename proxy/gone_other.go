//go:build !linux

package proxy

import (
	"sync"
	"time"
)

// watcher notices clients that leave by looking at every connection with a request under way each 20 ms: the systems
// without epoll are for development.
type watcher struct {
	stop, done chan struct{}

	mu    sync.Mutex
	conns map[*conn]struct{}
}

type watch struct{}

func newWatcher() (*watcher, error) {
	w := &watcher{stop: make(chan struct{}), done: make(chan struct{}), conns: map[*conn]struct{}{}}
	go w.loop()
	return w, nil
}

func (w *watcher) add(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = struct{}{}
}

func (w *watcher) remove(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
}

func (w *watcher) loop() {
	defer close(w.done)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		for c := range w.conns {
			if !c.left.Load() && c.hungUp() {
				c.gone()
			}
		}
		w.mu.Unlock()
	}
}

func (w *watcher) fireAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.closing.Store(true)
		c.x.abort.Fire()
	}
}

// Close ends the watcher and waits for its goroutine.
func (w *watcher) Close() {
	close(w.stop)
	<-w.done
}
