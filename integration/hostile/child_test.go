// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/inprocess"
)

// childEnv names the directory of a stage to a copy of this program that services it alone, so that its memory is its own.
const childEnv = "MOLT_HOSTILE_STAGE"

// measured is what a child tells.
type measured struct {
	outcome
	Peak int64 // of the memory, in bytes
}

func TestMain(m *testing.M) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	s := &stage{old: dir + "/old", base: dir + "/new", user: dir + "/user", into: dir + "/into"}
	out := measured{outcome: service(context.Background(), s.input(), s.into)}
	var err error
	if out.Peak, err = inprocess.Peak(); err == nil {
		err = json.NewEncoder(os.Stdout).Encode(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// apart services in a child.
func (s *stage) apart() measured {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+filepath.Dir(s.into))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		s.t.Fatal("servicing hangs")
	}
	if err != nil {
		s.t.Fatalf("servicing ended its process: %v\n%.4000s", err, stderr.Bytes())
	}
	var out measured
	check(s.t, json.Unmarshal(stdout.Bytes(), &out))
	return out
}
