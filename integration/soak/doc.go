// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package soak lets a daemon do random things for a given time, dies and damage in between, and compares every storage with a
// model of what must be in it.
package soak
