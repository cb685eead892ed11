// A dashboard as JSON, in the types of @grafana/schema: enumerations are written as their values, and each kind of panel has options of
// its own.
import type { Dashboard, FieldConfigSource, Panel, RowPanel } from "@grafana/schema";
import type * as bargauge from "@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as statetimeline from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

type Plain<T> = unknown extends T
  ? T
  : T extends string
    ? `${T}`
    : T extends number
      ? `${T}` extends `${infer N extends number}`
        ? N
        : T
      : T extends (infer U)[]
        ? Plain<U>[]
        : T extends object
          ? { [K in keyof T]: Plain<T[K]> }
          : T;

type Of<Kind extends string, Options, Custom> = Omit<Plain<Panel>, "type" | "options" | "fieldConfig"> & {
  type: Kind;
  options: Partial<Plain<Options>>;
  fieldConfig: Omit<Plain<FieldConfigSource>, "defaults"> & {
    defaults: Omit<Plain<FieldConfigSource["defaults"]>, "custom"> & { custom?: Partial<Plain<Custom>> };
  };
};

type Checked =
  | Of<"bargauge", bargauge.Options, Record<string, never>>
  | Of<"stat", stat.Options, Record<string, never>>
  | Of<"state-timeline", statetimeline.Options, statetimeline.FieldConfig>
  | Of<"table", table.Options, table.FieldConfig>
  | Of<"timeseries", timeseries.Options, timeseries.FieldConfig>;

type Row = Omit<Plain<RowPanel>, "panels"> & { panels: Checked[] };

export type Whole = Omit<Plain<Dashboard>, "panels"> & { panels: (Checked | Row)[] };
