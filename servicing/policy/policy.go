// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy is what a person decides beforehand: options, pins and excluded paths, and for each kind of conflict
// and of finding what is to be done about it. It is data and the checks on it; nothing here looks at a storage.
package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Options are what a person decided beforehand. The zero value is the careful one. They can be read from JSON and TOML.
type Options struct {
	// Policy says what to do about conflicts and findings, where it is not the default.
	Policy Policy `json:"policy,omitempty" toml:"policy,omitempty"`
	// Pins are paths that stay the user's.
	Pins []Pin `json:"pins,omitempty" toml:"pins,omitempty"`
	// Exclude holds paths that are never looked at, because something is mounted there when the container runs. They
	// are written like those of pins.
	Exclude []string `json:"exclude,omitempty" toml:"exclude,omitempty"`
	// Force makes reasons to hold the storage no obstacle to writing. They are in the report all the same.
	Force bool `json:"force,omitempty" toml:"force,omitempty"`
	// Now is the time that pins expire by. Without it none does.
	Now time.Time `json:"-" toml:"-"`
	// Wall is what the clock of the machine says where that may be later than Now, as long as it is not believed. A pin
	// that is over by it alone is kept, and the report says so.
	Wall time.Time `json:"-" toml:"-"`
}

// Over returns these options where they say something, and else those of the base: the more particular ones go over the
// more general ones. Pins and excluded paths add up; of two pins of one path, the particular one counts.
func (o Options) Over(base Options) Options {
	out := Options{Force: o.Force || base.Force, Now: o.Now, Wall: o.Wall}
	if out.Now.IsZero() {
		out.Now, out.Wall = base.Now, base.Wall
	}
	if len(o.Policy)+len(base.Policy) > 0 {
		out.Policy = make(Policy)
		maps.Copy(out.Policy, base.Policy)
		maps.Copy(out.Policy, o.Policy)
	}
	out.Pins = slices.Clone(o.Pins)
	for _, pin := range base.Pins {
		if !slices.ContainsFunc(o.Pins, func(other Pin) bool { return other.Path == pin.Path }) {
			out.Pins = append(out.Pins, pin)
		}
	}
	out.Exclude = slices.Clone(o.Exclude)
	for _, p := range base.Exclude {
		if !slices.Contains(out.Exclude, p) {
			out.Exclude = append(out.Exclude, p)
		}
	}
	return out
}

// ErrOptions is wrapped by the error about options that mean nothing.
var ErrOptions = errors.New("invalid options")

// Validate returns an error that says what is wrong, and what is allowed instead.
func (o Options) Validate() error {
	errs := []error{o.Policy.validate()}
	for _, pin := range o.Pins {
		if err := checkSelector(pin.Path); err != nil {
			errs = append(errs, fmt.Errorf("%w: pin %q: %w", ErrOptions, pin.Path, err))
		}
	}
	for _, p := range o.Exclude {
		if err := checkSelector(p); err != nil {
			errs = append(errs, fmt.Errorf("%w: exclude %q: %w", ErrOptions, p, err))
		}
	}
	return errors.Join(errs...)
}

// Policy says what to do about concerns.
type Policy map[Concern]Action

// Action returns what the policy says about a concern, by default what Concerns says.
func (p Policy) Action(c Concern) Action {
	if a, given := p[c]; given {
		return a
	}
	info, _ := InfoOf(c)
	return info.Default
}

func (p Policy) validate() error {
	var errs []error
	for _, c := range slices.Sorted(maps.Keys(p)) {
		info, known := InfoOf(c)
		switch {
		case !known:
			var names []Concern
			for _, info := range Concerns() {
				names = append(names, info.Concern)
			}
			errs = append(errs, fmt.Errorf(
				"%w: policy for %q: there is no such kind of conflict or finding; there are %s", ErrOptions, c,
				join(names),
			))
		case !slices.Contains(info.Allowed, p[c]):
			errs = append(
				errs, fmt.Errorf("%w: policy for %q: it cannot be %q; allowed are %s", ErrOptions, c, p[c],
					join(info.Allowed)),
			)
		}
	}
	return errors.Join(errs...)
}

func join[T ~string](all []T) string {
	var out []string
	for _, one := range all {
		out = append(out, string(one))
	}
	return strings.Join(out, ", ")
}
