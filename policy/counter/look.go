package counter

// Look tells whether n more would be met now, as far as this process knows, and takes nothing. Where they would not it tells what there is,
// and how long it would take.
func (k *Counter) Look(n int64) (Short, bool) {
	now := k.c.time()
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	now = k.c.forward(now)
	k = k.c.live(k)
	free := k.free(now)
	if n <= free || k.lease == nil && k.fits(n, k.cap, now) {
		return Short{Free: free}, true
	}
	return Short{Retry: k.retry(n, k.cap, now), Free: free}, false
}
