package main

import (
	"container/list"
	"time"

	"jarvis-gateway/router"
)

// traceBlock is how many tokens a block of a trace's prompts has.
const traceBlock = 512

// machine is a replica of a pool in a replay: it computes one prompt after another, what its cache does not hold.
type machine struct {
	address  string
	provider string
	requests int
	blocks   int // of prompts,
	held     int // which its cache had
	free     time.Duration
	cache    lruBlocks
}

// lruBlocks is a cache of blocks, of which the one that was used last goes last.
type lruBlocks struct {
	room  int
	order *list.List
	at    map[uint64]*list.Element
}

// use computes a prompt and returns how many of its first blocks were there. A prompt's end goes before its beginning does.
func (l *lruBlocks) use(blocks []uint64) (held int) {
	for held < len(blocks) && l.at[blocks[held]] != nil {
		held++
	}
	for i := len(blocks) - 1; i >= 0; i-- {
		if e := l.at[blocks[i]]; e != nil {
			l.order.MoveToFront(e)
			continue
		}
		l.at[blocks[i]] = l.order.PushFront(blocks[i])
	}
	for len(l.at) > l.room {
		delete(l.at, l.order.Remove(l.order.Back()).(uint64))
	}
	return held
}

// turnEnds tells a pool's replica of an answer's beginning and end. The zero value has nobody to tell.
type turnEnds struct{ turn *router.Turn }

func (e turnEnds) first(now time.Time) {
	if e.turn != nil {
		e.turn.Answered(now)
	}
}

func (e turnEnds) last(now time.Time) {
	if e.turn != nil {
		e.turn.End(now, router.EndedOK)
	}
}

// compute tells how long a prompt takes until its first token, and how much of it was in a cache.
func (p *replay) compute(j *journey, t *router.Target) (first time.Duration, cached int64, ends turnEnds) {
	pool := t.Pool()
	if pool == nil || len(pool.Replicas()) == 0 {
		return p.ttft, 0, ends
	}
	q := router.PoolQuery{Model: t.Model, ByPrefix: t.Serves().ByPrefix(), Whole: !j.query.Stream, Prefix: j.query.Prefix, Blocks: int(j.prompt) / traceBlock}
	replica, _ := pool.Choose(p.clock(), &q)
	if replica == nil {
		return p.ttft, 0, ends
	}
	turn := replica.Begin(p.clock(), &q)
	c := p.machines[replica]
	if c == nil {
		c = &machine{address: replica.Address, provider: t.Provider, cache: lruBlocks{int(p.cache / traceBlock), list.New(), map[uint64]*list.Element{}}}
		p.machines[replica] = c
	}
	held := c.cache.use(j.query.Prefix)
	c.requests, c.blocks, c.held = c.requests+1, c.blocks+len(j.query.Prefix), c.held+held
	cached = min(int64(held)*traceBlock, j.prompt)
	c.free = max(c.free, p.agenda.now)
	if p.prefill > 0 {
		c.free += time.Duration(float64(j.prompt-cached) / p.prefill * float64(time.Second))
	}
	return c.free - p.agenda.now + p.ttft, cached, turnEnds{&turn}
}
