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
	"sync"
	"testing"
)

// measured is what a child tells.
type measured struct {
	outcome
	Peak int64 // of the memory, in bytes
}

var (
	programs string // the directory of what tests build
	build1   sync.Once
)

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "molt-hostile-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(programs); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// servicer builds the program that services a storage alone, once, and returns it.
func servicer(t *testing.T) string {
	t.Helper()
	program := filepath.Join(programs, "servicer")
	build1.Do(func() {
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./servicer").CombinedOutput(); err != nil {
			t.Errorf("build the servicer: %v\n%s", err, out)
		}
	})
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("there is no servicer: %v", err)
	}
	return program
}

// apart services in a child.
func (s *stage) apart() measured {
	s.t.Helper()
	program := servicer(s.t)
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, filepath.Dir(s.into))
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
