package policy

// Spent is how much of the tightest budget that bounds the caller is used, from 0 to 1, as this gateway knows.
func (c *Caller) Spent() (share float64) {
	for _, s := range c.scopes {
		for _, l := range s.limits {
			if l.budget() && l.spec.Limit > 0 {
				at := l.counter.State()
				share = max(share, float64(at.Used)/float64(at.Limit))
			}
		}
	}
	return share
}
