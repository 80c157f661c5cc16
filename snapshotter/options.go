// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/overlay"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// config is what the options set.
type config struct {
	host      Host
	binding   binding.Policy
	onCommit  updates.CommitPolicy
	retention state.Retention
	grace     time.Duration
	workers   int
	servicing servicing.Options
	mount     []string
	shared    bool
	lower     int // how many lower directories a mount takes
	clock     func() (clock.Reading, error)
}

// The defaults of the options.
const (
	DefaultPoints = 3
	DefaultGrace  = 10 * time.Second
	DefaultAge    = 30 * 24 * time.Hour
)

// DefaultOnCommit stages what a client says is an update, and only tells of one by an image. No source of images is
// trusted.
func DefaultOnCommit() updates.CommitPolicy {
	return updates.CommitPolicy{
		Client: updates.StageCommit, Image: updates.NotifyCommit, Trusted: updates.StageCommit,
		Written: updates.IgnoreCommit,
	}
}

func defaults() config {
	return config{
		binding: binding.Policy{
			OnReturn: binding.CarryOver, OnHold: binding.RefuseStart, Rebind: binding.RebindOnChange,
			NewContainers: binding.BeginAsNamed,
		},
		onCommit:  DefaultOnCommit(),
		retention: state.Retention{Points: DefaultPoints, Age: DefaultAge},
		grace:     DefaultGrace,
		workers:   2,
		lower:     overlay.MaxLower,
		clock:     clock.Read,
	}
}

// Opt sets an option of [New].
type Opt func(*config) error

// Validate reports whether [New] would accept the options.
func Validate(opts ...Opt) error {
	_, err := configured(opts)
	return err
}

// configured returns the defaults with the options over them.
func configured(opts []Opt) (config, error) {
	c := defaults()
	for _, opt := range opts {
		if err := opt(&c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// WithHost makes the snapshotter ask a containerd which storage a container wants and whether it runs. Without a host
// only labels given to Prepare, and the mount tables, are known.
func WithHost(h Host) Opt {
	return func(c *config) error { c.host = h; return nil }
}

// WithSharedRoot leaves the mode of a root that is there already, which somebody else made and may have a use for.
// Without it others than the user cannot enter the root.
func WithSharedRoot() Opt {
	return func(c *config) error { c.shared = true; return nil }
}

// WithRollbackPolicy sets what happens when a storage is bound on a base from its history.
func WithRollbackPolicy(p binding.RollbackPolicy) Opt {
	return func(c *config) error {
		switch p {
		case binding.CarryOver, binding.Exact, binding.Refuse:
			c.binding.OnReturn = p
			return nil
		}
		return fmt.Errorf("rollback policy %q: must be %q, %q or %q: %w", p, binding.CarryOver, binding.Exact,
			binding.Refuse, errdefs.ErrInvalidArgument)
	}
}

// WithOnHold sets what happens when a container asks for a base that its storage cannot be serviced for.
func WithOnHold(p binding.OnHold) Opt {
	return func(c *config) error {
		if p != binding.RefuseStart && p != binding.StartOnOldBase {
			return fmt.Errorf("on hold %q: must be %q or %q: %w", p, binding.RefuseStart, binding.StartOnOldBase,
				errdefs.ErrInvalidArgument)
		}
		c.binding.OnHold = p
		return nil
	}
}

// WithRebind sets which containers have their storage moved to the base that they ask for.
func WithRebind(p binding.Rebind) Opt {
	return func(c *config) error {
		if p != binding.RebindOnChange && p != binding.RebindToSpec {
			return fmt.Errorf("rebind %q: must be %q or %q: %w", p, binding.RebindOnChange, binding.RebindToSpec,
				errdefs.ErrInvalidArgument)
		}
		c.binding.Rebind = p
		return nil
	}
}

// WithOnCommit sets what is done when a layer is committed that updates a base on which storages stand.
func WithOnCommit(p updates.CommitPolicy) Opt {
	return func(c *config) error { c.onCommit = p; return p.Validate() }
}

// WithNewContainers sets where the storages of new containers begin. A container goes by what was set when its key
// was prepared.
func WithNewContainers(p binding.NewContainers) Opt {
	return func(c *config) error {
		if p != binding.BeginAsNamed && p != binding.BeginOnNewest {
			return fmt.Errorf("new containers %q: must be %q or %q: %w", p, binding.BeginAsNamed, binding.BeginOnNewest,
				errdefs.ErrInvalidArgument)
		}
		c.binding.NewContainers = p
		return nil
	}
}

// WithRetention sets how long rollback points are kept.
func WithRetention(r state.Retention) Opt {
	return func(c *config) error {
		if r.Points < 0 || r.Age < 0 || r.Trash < 0 {
			return fmt.Errorf("retention must not be negative: %w", errdefs.ErrInvalidArgument)
		}
		c.retention = r
		return nil
	}
}

// WithGrace sets how long a storage counts as in use after its mounts were handed out, unless it is known to have been
// released since: containerd may be just about to mount them.
func WithGrace(d time.Duration) Opt {
	return func(c *config) error {
		if d < 0 {
			return fmt.Errorf("grace: %v is negative: %w", d, errdefs.ErrInvalidArgument)
		}
		c.grace = d
		return nil
	}
}

// WithWorkers sets how many storages are serviced at once.
func WithWorkers(n int) Opt {
	return func(c *config) error {
		if n < 1 {
			return fmt.Errorf("workers: %d is less than 1: %w", n, errdefs.ErrInvalidArgument)
		}
		c.workers = n
		return nil
	}
}

// WithServicing sets what servicing is told for all storages.
func WithServicing(o servicing.Options) Opt {
	return func(c *config) error {
		if err := o.Validate(); err != nil {
			return fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
		}
		c.servicing = o
		return nil
	}
}

// WithClock sets how the clocks of the machine are read, which decide what is old.
func WithClock(read func() (clock.Reading, error)) Opt {
	return func(c *config) error { c.clock = read; return nil }
}

// WithMountOptions replaces the overlay options that are otherwise found by asking the kernel what it knows.
func WithMountOptions(options ...string) Opt {
	return func(c *config) error { c.mount = options; return nil }
}
