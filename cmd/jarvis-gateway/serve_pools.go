package main

import (
	"log/slog"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/router"
)

// pools are the replicas of the providers that have any; nil where the providers are not what they should be.
func (p *parts) pools() map[string]*router.Pool {
	if p.clients == nil {
		return nil
	}
	pools := map[string]*router.Pool{}
	for name, c := range p.clients {
		if pool := c.Pool(); pool != nil {
			pools[name] = pool
		}
	}
	return pools
}

// rooms are the providers that take so many requests at once.
func rooms(providers map[string]provider.Config) map[string]policy.Room {
	found := map[string]policy.Room{}
	for name, p := range providers {
		if p.MaxInFlight > 0 {
			found[name] = policy.Room{Most: p.MaxInFlight, Queue: policy.Queue(p.Queue)}
		}
	}
	return found
}

// watch begins to look after the replicas of the config that is in force now.
func (p *parts) watch(log *slog.Logger) {
	pools := p.pools()
	proxy.Pools.Store(&pools)
	for _, c := range p.clients {
		c.Watch(log)
	}
}

// firstLook is how long the start waits for names in the DNS: who asks before they are found waits for them, too.
const firstLook = 2 * time.Second

// found waits until it is known who is in the pools.
func (p *parts) found() {
	begun := time.Now()
	for _, c := range p.clients {
		c.Found(firstLook - time.Since(begun))
	}
}

// pools are those in force.
func (s *live) pools() map[string]*router.Pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts.pools()
}
