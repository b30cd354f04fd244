package counter

import "time"

// What counts while Redis is late. A lease is Redis's word; without one a Take waits for it, for what was never counted must
// not be refused, nor money be spent that others may have spent. A Redis that is known to be slow, or silent for so long that
// it is taken to be away, is not waited for where on_error knows better.
const (
	patient = 250 * time.Millisecond // that a Take waits for Redis before it makes do with a part of a rate
	enough  = 3 * time.Second        // and in all; longer than Redis may need to hear what the replicas know
	silence = time.Second            // after which on_error says what counts
	recent  = 2 * horizon            // so long what Redis last said is good for refusals, if it says nothing new
	early   = 8                      // while it is merely slow, a replica goes on with this part of its share
	races   = 4                      // answers that others were quicker to use, before a Take gives them some time
)

// hasty tells whether a Take need not wait before it makes do: Redis is known to be slow or to have lost its data, or has long
// been silent.
func (f *far) hasty(now moment) bool {
	return f.open || now.mono < f.fresh || f.started != 0 && now.mono-f.started > f.patience
}

// away tells whether Redis has not answered for so long that a share is better than to wait on. A Redis that is slow still
// leases, and a short silence is not worth going beyond the limit for.
func (f *far) away(now moment) bool {
	since := f.mute
	if since == 0 {
		since = f.started
	}
	return f.gone || since != 0 && now.mono-since > int64(silence)
}

// failing tells whether Redis does not answer, which is when on_error counts. One that is slow does not have it count.
func (f *far) failing(now moment) bool { return f.open && f.mute != 0 || f.away(now) }

// wait is one Take's, for Redis.
type wait struct {
	clock   *time.Ticker
	asked   *round // which is under way
	failed  bool   // the last one did
	waited  time.Duration
	answers int
}

// takeFar goes on with a Take that the leases do not meet. It is called with the lock held and gives it up.
func (c *Counters) takeFar(needs []Need, i int, now moment) (Short, bool) {
	defer c.mu.Unlock()
	patience := time.Duration(c.far.patience)
	var w wait
	defer w.end()
	for {
		hasty := w.failed || w.waited >= patience || c.far.hasty(now)
		if hasty {
			if i = c.takeAll(needs, now, true); i == len(needs) {
				c.count(w.clock != nil)
				return Short{}, true
			}
		}
		if s, known := c.short(needs, i, now, hasty, w.waited >= max(enough, patience)); known {
			return s, false
		}
		now = w.round(c, needs, now)
		if i = c.takeAll(needs, now, false); i == len(needs) {
			c.count(true)
			return Short{}, true
		}
	}
}

// round asks Redis and waits for the answer, but for no longer than a tick at once. It gives up the lock meanwhile.
func (w *wait) round(c *Counters, needs []Need, now moment) moment {
	if w.clock == nil {
		w.clock = time.NewTicker(tick)
	}
	if w.asked == nil && w.answers < races {
		w.asked = c.ask(needs, now)
	}
	var done <-chan struct{}
	if w.asked != nil {
		done = w.asked.done
	}
	c.mu.Unlock()
	select {
	case <-done:
		w.failed, w.asked = w.asked.failed, nil
		w.answers++
	case <-w.clock.C:
		w.waited += tick
		w.answers = min(w.answers, races-1)
	}
	now = c.time()
	c.mu.Lock()
	return c.forward(now)
}

func (w *wait) end() {
	if w.clock != nil {
		w.clock.Stop()
	}
}

// short finds the first need that cannot be met as far as this replica knows; not known are those that Redis must be asked
// for. hasty is that on_error was tried, and over that nobody waits any more.
func (c *Counters) short(needs []Need, failed int, now moment, hasty, over bool) (Short, bool) {
	ask := false
	for i := range needs {
		k, n := c.live(needs[i].Counter), needs[i].N
		if n == 0 || k.lease.has(k, n, now) {
			continue
		}
		refused := k.refuses(n, now)
		switch {
		case refused, k.lease.ill:
		case !hasty, k.beyond(n, now), !over && k.hopes(n, now):
			ask = true
			continue
		}
		if refused || !k.lease.ill {
			k.lease.crave(k, n, now)
		}
		s := Short{Index: i, Free: k.free(now)}
		k.why(&s, n, refused, now)
		return s, true
	}
	k := c.live(needs[failed].Counter)
	return Short{Index: failed, Retry: tick, Free: k.free(now)}, !ask || over
}

// why says why n cannot be met. That a limit is reached it says only where Redis, or a share, has it so.
func (k *Counter) why(s *Short, n int64, refused bool, now moment) {
	f := k.c.far
	switch {
	case refused:
		s.Retry = k.retryFar(n, now)
	case k.lease.ill:
		s.Retry, s.Unavailable = time.Duration(horizon), true
	case f.onError == "closed" && f.failing(now), f.away(now) && k.blind():
		s.Unavailable = true
	case f.away(now):
		share := k.share(now)
		s.Share = true
		s.Retry, s.Free = k.retry(n, share, now), max(0, share-k.meter.used(now)-k.held)
	case k.lease.denied(k, n, now):
		s.Retry = probe
	default:
		s.Unavailable = true
	}
}

// hopes tells whether it is worth waiting for Redis to say whether n fits.
func (k *Counter) hopes(n int64, now moment) bool {
	f := k.c.far
	switch {
	case k.lease.quiet(now):
		return true
	case f.away(now), f.onError == "closed" && f.failing(now):
		return false
	}
	return !k.lease.denied(k, n, now)
}

// denied tells whether n did not fit when Redis last said something, a moment ago.
func (l *lease) denied(k *Counter, n int64, now moment) bool {
	return l.told.known && now.mono-l.told.at < recent && n > l.free(k, now)
}

// quiet tells a budget of which Redis lost what was used, until all replicas had time to tell what they know of it.
func (l *lease) quiet(now moment) bool { return now.mono < l.told.quiet }

// ask has the next sync ask for what is short.
func (c *Counters) ask(needs []Need, now moment) *round {
	f := c.far
	for i := range needs {
		k, n := c.live(needs[i].Counter), needs[i].N
		l := k.lease
		if n == 0 || l.has(k, n, now) {
			continue
		}
		if !needs[i].Spend && k.spec.Algorithm != Level && !l.held {
			l.held, l.ttl = true, f.holdT
		}
		if l.asked == 0 || n < l.least {
			l.least = n
		}
		l.asked += n
		f.activate(k)
		f.urge(k)
	}
	if f.next == nil {
		f.next = &round{done: make(chan struct{})}
	}
	return f.next
}

// beyond tells whether n may be taken although Redis, which does not answer or not yet, leased nothing for it.
func (k *Counter) beyond(n int64, now moment) bool {
	f := k.c.far
	switch {
	case k.refuses(n, now), f.onError == "closed":
		return false
	case f.onError == "open" && (f.failing(now) || k.lease.quiet(now)):
		return true
	case f.onError == "local_share" && (f.away(now) || k.lease.quiet(now) && now.mono < f.shares):
		return k.fits(n, k.share(now), now)
	}
	return k.ahead(n, now)
}

// ahead tells whether n may be taken ahead of the word of a Redis that is slow: a small part of what was free when it last
// spoke, or of the limit where that is unknown. What is taken so is reported at once, and there is no more of it until the
// next answer. Of money nothing is taken ahead, for others may have spent it.
func (k *Counter) ahead(n int64, now moment) bool {
	l := k.lease
	if _, ok := k.meter.(*calendar); ok || n > k.cap {
		return false
	}
	part := max(0, l.free(k, now)-l.room(k, now)) / (early * k.live())
	if !l.told.known && k.spec.Algorithm != Level {
		part = max(1, part)
	}
	return n <= max(0, l.told.lease)+part-(l.spent-l.told.spent)-k.held
}

// live is how many replicas share a counter, one that is quiet for the moment included.
func (k *Counter) live() int64 { return max(1, k.lease.told.live, k.c.far.peers) }

// share is how far this replica may go while Redis is away. Right after the last answer that is its part of what was free
// then. Later it is its part of the limit; the meter has counted all along what this replica used, so that the share is not
// new with each outage. Of a calendar's window it stays what was free.
func (k *Counter) share(now moment) int64 {
	l := k.lease
	live := k.live()
	used := k.meter.used(now)
	m, ok := k.meter.(*calendar)
	switch {
	case k.blind():
		return 0
	case !l.told.known:
		return (k.cap + live - 1) / live
	case ok && l.told.window != m.begin:
		return k.cap / live
	case ok || now.mono-l.told.at < horizon:
		return used - (l.spent - l.told.spent) + max(0, l.told.lease) + l.told.free/live
	}
	return max(1, k.cap/live)
}

// blind tells a calendar's counter of which Redis has told nothing since this process began: how much of the window others
// have used, and this one before it was killed, nobody here knows. A share of that could be the whole budget once more.
func (k *Counter) blind() bool {
	_, ok := k.meter.(*calendar)
	return ok && !k.lease.told.known
}
