/** The server's catalogues. */
import { getLogin, getModels, getPersonas, getStatus, getToolsets } from '../api/routes';
import { catalogue } from './catalogue';

export const useModels = catalogue(getModels);
export const usePersonas = catalogue(getPersonas);
export const useToolsets = catalogue(getToolsets);
export const useStatus = catalogue(getStatus);
export const useLogin = catalogue(getLogin);
