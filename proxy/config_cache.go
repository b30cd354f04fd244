package proxy

import "errors"

// CacheConfig is the `cache` section: how much the cache may keep, of the models that have one.
type CacheConfig struct {
	Memory Size `yaml:"memory,omitempty" jsonschema_description:"how much memory answers may take in this process, the latest first; default 64MiB"`
	Entry  Size `yaml:"entry,omitempty" jsonschema_description:"the largest answer that is kept; default 1MiB"`
}

// CacheDefaults is what the section leaves open.
var CacheDefaults = CacheConfig{Memory: 64 << 20, Entry: 1 << 20}

// Check tells what is wrong with the section.
func (c CacheConfig) Check() error {
	if c.Entry > c.Memory {
		return errors.New("cache.entry: one answer cannot be larger than cache.memory, which holds all")
	}
	return nil
}
