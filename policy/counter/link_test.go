package counter_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// link is a way to Redis that can be slow, lose replies, or be cut.
type link struct {
	to     string
	listen net.Listener
	delay  atomic.Int64 // of replies
	lost   atomic.Bool  // replies do not come, and then the connection ends
	cut    atomic.Bool
	mu     sync.Mutex
	open   map[net.Conn]bool
	wg     sync.WaitGroup
}

func newLink(t testing.TB, to string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{to: to, listen: l, open: map[net.Conn]bool{}}
	k.wg.Go(k.accept)
	t.Cleanup(func() {
		l.Close()
		k.hangUp()
		k.wg.Wait()
	})
	return k
}

func (k *link) url() string { return "redis://" + k.listen.Addr().String() + "/0" }

// sever cuts the link, or mends it.
func (k *link) sever(cut bool) {
	if k.cut.Store(cut); cut {
		k.hangUp()
	}
}

func (k *link) hangUp() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.open {
		c.Close()
	}
}

func (k *link) accept() {
	for {
		c, err := k.listen.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", k.to)
		if err != nil || k.cut.Load() {
			c.Close()
			continue
		}
		k.mu.Lock()
		k.open[c], k.open[up] = true, true
		k.mu.Unlock()
		k.wg.Go(func() { k.carry(up, c, false) })
		k.wg.Go(func() { k.carry(c, up, true) })
	}
}

func (k *link) carry(to, from net.Conn, replies bool) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if replies {
			time.Sleep(time.Duration(k.delay.Load()))
			if k.lost.Load() {
				err = io.EOF
				n = 0
			}
		}
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	to.Close()
	from.Close()
	k.mu.Lock()
	delete(k.open, to)
	delete(k.open, from)
	k.mu.Unlock()
}
