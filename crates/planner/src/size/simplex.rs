//! A small linear program, solved by the revised simplex method in floating point.
//!
//! It points the search somewhere; must never decide anything: whatever its prices are, bounds are
//! worked out from them anew in whole numbers ([`super::relax`]). Only `+ - * /` are used, which
//! are the same on every machine.

use alloc::vec::Vec;

/// What counts as zero.
const ZERO: f64 = 1e-9;
/// Steps after which it is good enough: prices need not be the best.
const PATIENCE: u32 = 5_000;
/// After so many steps in a row without progress, the first column that helps is taken (Bland's
/// rule), which cannot go round in circles.
const PLATEAU: u32 = 50;

/// A variable, zero or more.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// What one unit costs.
    pub(super) cost: f64,
    /// Row and coefficient.
    pub(super) entries: Vec<(usize, f64)>,
}

/// Minimise the cost of the columns so that each row adds up to its right side.
#[derive(Debug, Clone)]
pub(super) struct Program {
    columns: Vec<Column>,
    /// For each row, the column that is basic there.
    basis: Vec<usize>,
    /// The inverse of the basis' matrix, row by row.
    inverse: Vec<f64>,
    /// The value of the basic column of each row.
    values: Vec<f64>,
    right: Vec<f64>,
}

impl Program {
    /// A program with a basis to start from; `None` if that is no basis, or gives a negative value.
    pub(super) fn new(right: Vec<f64>, columns: Vec<Column>, basis: Vec<usize>) -> Option<Self> {
        let mut program = Self { columns, basis, inverse: Vec::new(), values: Vec::new(), right };
        program.invert()?;
        program.values.iter().all(|value| *value >= -ZERO).then_some(program)
    }

    /// Adds a column.
    pub(super) fn add(&mut self, column: Column) {
        self.columns.push(column);
    }

    /// What the columns cost together.
    pub(super) fn cost(&self) -> f64 {
        self.basis.iter().zip(&self.values).map(|(c, value)| self.columns[*c].cost * value).sum()
    }

    /// The basic columns and their values.
    pub(super) fn levels(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.basis.iter().copied().zip(self.values.iter().copied())
    }

    /// The price of each row: what one unit more on its right side costs.
    pub(super) fn prices(&self) -> Vec<f64> {
        let rows = self.right.len();
        let mut prices = alloc::vec![0.0; rows];
        for (row, column) in self.basis.iter().enumerate() {
            let cost = self.columns[*column].cost;
            if cost.abs() > 0.0 {
                for (price, entry) in prices.iter_mut().zip(&self.inverse[row * rows..]) {
                    *price += cost * entry;
                }
            }
        }
        prices
    }

    /// What a unit of `column` saves, negative, or costs at these prices.
    pub(super) fn reduced(column: &Column, prices: &[f64]) -> f64 {
        let covered: f64 = column.entries.iter().map(|(row, entry)| prices[*row] * entry).sum();
        column.cost - covered
    }

    /// Goes on to the optimum, or as far as patience reaches.
    pub(super) fn solve(&mut self) {
        let (mut plateau, mut lowest) = (0, self.cost());
        for step in 1..PATIENCE {
            if step % 64 == 0 && self.invert().is_none() {
                return;
            }
            let prices = self.prices();
            let Some(entering) = self.entering(&prices, plateau > PLATEAU) else { return };
            let direction = self.direction(entering);
            let Some(row) = self.leaving(&direction) else { return };
            self.pivot(row, entering, &direction);
            let cost = self.cost();
            plateau = if cost < lowest - ZERO { 0 } else { plateau + 1 };
            lowest = lowest.min(cost);
        }
    }

    fn entering(&self, prices: &[f64], first: bool) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (index, column) in self.columns.iter().enumerate() {
            let reduced = Self::reduced(column, prices);
            if reduced < -1e-8 * (1.0 + column.cost.abs()) && !self.basis.contains(&index) {
                if first {
                    return Some(index);
                }
                if best.is_none_or(|(_, known)| reduced < known) {
                    best = Some((index, reduced));
                }
            }
        }
        best.map(|(index, _)| index)
    }

    /// How the basic values change with a unit of the column.
    fn direction(&self, column: usize) -> Vec<f64> {
        let rows = self.right.len();
        let entries = &self.columns[column].entries;
        let of_row = |row: usize| {
            entries.iter().map(|(at, entry)| self.inverse[row * rows + at] * entry).sum()
        };
        (0..rows).map(of_row).collect()
    }

    /// The row whose value falls to zero first; of several the one whose column is the lowest.
    fn leaving(&self, direction: &[f64]) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (row, slope) in direction.iter().enumerate().filter(|(_, slope)| **slope > ZERO) {
            let ratio = self.values[row].max(0.0) / slope;
            let better = best.is_none_or(|(known, least)| {
                ratio < least - ZERO || ratio <= least + ZERO && self.basis[row] < self.basis[known]
            });
            if better {
                best = Some((row, ratio));
            }
        }
        best.map(|(row, _)| row)
    }

    fn pivot(&mut self, row: usize, entering: usize, direction: &[f64]) {
        let rows = self.right.len();
        let slope = direction[row];
        let step = self.values[row].max(0.0) / slope;
        let line: Vec<f64> =
            self.inverse[row * rows..(row + 1) * rows].iter().map(|entry| entry / slope).collect();
        for (other, share) in direction.iter().enumerate() {
            if other == row {
                self.inverse[row * rows..(row + 1) * rows].copy_from_slice(&line);
                self.values[row] = step;
            } else if share.abs() > 0.0 {
                let target = &mut self.inverse[other * rows..(other + 1) * rows];
                for (entry, part) in target.iter_mut().zip(&line) {
                    *entry -= share * part;
                }
                self.values[other] -= share * step;
            }
        }
        self.basis[row] = entering;
    }

    /// Works inverse and values out anew from the basis, by Gauss and Jordan with row exchanges.
    fn invert(&mut self) -> Option<()> {
        let rows = self.right.len();
        let width = 2 * rows;
        let mut table = alloc::vec![0.0; rows * width];
        for (at, column) in self.basis.iter().enumerate() {
            for (row, entry) in &self.columns[*column].entries {
                table[row * width + at] += *entry;
            }
        }
        for row in 0..rows {
            table[row * width + rows + row] = 1.0;
        }
        for at in 0..rows {
            let size = |row: &usize| table[row * width + at].abs();
            let pivot = (at..rows).max_by(|a, b| size(a).total_cmp(&size(b)))?;
            if size(&pivot) < ZERO {
                return None;
            }
            for column in 0..width {
                table.swap(at * width + column, pivot * width + column);
            }
            let scale = table[at * width + at];
            for entry in &mut table[at * width..(at + 1) * width] {
                *entry /= scale;
            }
            let line: Vec<f64> = table[at * width..(at + 1) * width].to_vec();
            for row in (0..rows).filter(|row| *row != at) {
                let share = table[row * width + at];
                if share.abs() > 0.0 {
                    let target = &mut table[row * width..(row + 1) * width];
                    for (entry, part) in target.iter_mut().zip(&line) {
                        *entry -= share * part;
                    }
                }
            }
        }
        self.inverse = (0..rows)
            .flat_map(|row| table[row * width + rows..(row + 1) * width].to_vec())
            .collect();
        let value = |row: usize| -> f64 {
            let line = &self.inverse[row * rows..(row + 1) * rows];
            line.iter().zip(&self.right).map(|(entry, right)| entry * right).sum()
        };
        self.values = (0..rows).map(value).collect();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(cost: f64, entries: &[(usize, f64)]) -> Column {
        Column { cost, entries: entries.to_vec() }
    }

    #[test]
    fn a_diet_of_two_foods() {
        // x + 2y >= 4 and 3x + y >= 6 at the least of 2x + 3y: x = 1.6, y = 1.2, cost 6.8.
        let columns = [
            column(2.0, &[(0, 1.0), (1, 3.0)]),
            column(3.0, &[(0, 2.0), (1, 1.0)]),
            column(0.0, &[(0, -1.0)]),
            column(0.0, &[(1, -1.0)]),
            column(100.0, &[(0, 1.0)]),
            column(100.0, &[(1, 1.0)]),
        ];
        let mut program =
            Program::new(Vec::from([4.0, 6.0]), columns.to_vec(), Vec::from([4, 5])).unwrap();
        program.solve();
        assert!((program.cost() - 6.8).abs() < 1e-9, "{}", program.cost());
        let prices = program.prices();
        assert!((prices[0] - 1.4).abs() < 1e-9 && (prices[1] - 0.2).abs() < 1e-9, "{prices:?}");
        program.add(column(0.5, &[(0, 1.0), (1, 1.0)]));
        program.solve();
        assert!((program.cost() - 3.0).abs() < 1e-9, "six of the new one: {}", program.cost());
    }

    #[test]
    fn a_basis_that_is_none_is_refused() {
        let same = [column(1.0, &[(0, 1.0), (1, 1.0)]), column(1.0, &[(0, 2.0), (1, 2.0)])];
        let right = Vec::from([1.0, 1.0]);
        assert!(Program::new(right.clone(), same.to_vec(), Vec::from([0, 1])).is_none());
        let negative = [column(1.0, &[(0, -1.0)]), column(1.0, &[(1, 1.0)])];
        assert!(Program::new(right, negative.to_vec(), Vec::from([0, 1])).is_none());
    }
}
