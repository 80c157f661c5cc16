// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// TestMountPoints: the mount points of a container are those of its specification, below its root.
func TestMountPoints(t *testing.T) {
	spec, err := json.Marshal(specs.Spec{Mounts: []specs.Mount{{Destination: "/proc"}, {Destination: "/data/../srv/"}, {Destination: "relative"}, {Destination: "/"}}})
	must(t, err)
	for name, c := range map[string]struct {
		spec *anypb.Any
		want state.MountPoints
		bad  bool
	}{
		"some":             {spec: &anypb.Any{Value: spec}, want: state.MountPoints{"proc", "srv", "relative", ""}},
		"no specification": {},
		"one that is none": {spec: &anypb.Any{Value: []byte("{")}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			one := containers.Container{ID: "c"}
			if c.spec != nil {
				one.Spec = c.spec
			}
			if got, err := mountPointsOf(one); !slices.Equal(got, c.want) || (err != nil) != c.bad {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
