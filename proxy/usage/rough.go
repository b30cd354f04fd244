package usage

// Rough is what an answer costs in nano-dollars, about and quickly: for comparing many prices before anything is asked. Some of
// the prompt is expected in the provider's cache.
func (p *Price) Rough(prompt, inCache, completion int64) int64 {
	if p == nil {
		return 0
	}
	r := p.at(prompt)
	sum := float64(inCache)*float64(r[cached]) + float64(prompt-inCache)*float64(r[input]) + float64(completion)*float64(r[output]) + float64(p.each[request])
	return int64(sum / 1e6)
}
